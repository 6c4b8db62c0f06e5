#!/usr/bin/env python3
"""Runs the pods of k8s/overlays as processes of this machine: are the commands, settings, probes and exit codes right?

    python3 scripts/k8s/run_local.py [--build build/release]

A poor man's kubelet. It takes each container's command, arguments and environment from the manifests, puts local folders and
free ports in place of mounts, Service and pod names, and nothing else besides a shorter run. `kind-cpu` runs as it is;
`multi-node-gpu` with the quick start's configuration, two hosts of one CPU rank each, and certificates of
deploy/certificates/make_certs.sh. It waits for the probes, ends the learner as an eviction does, starts it again as the Job
controller does, and drains an actor; actors that leave are started again, as the Deployment does. Needs PyYAML. Exit code 1 when an expectation fails.
"""

import argparse
import dataclasses
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from base.local import ROOT, Expectations, free_port, read_url, stop, wait  # noqa: E402
from k8s import manifests  # noqa: E402
from k8s.identities import call, certificate_in, make_certificates, make_expired  # noqa: E402

ENDLESS, MORE_STEPS = 1_000_000, 40  # until it is ended, and after it was started again
SMALLER = ["--set=rollout.prompts_per_step=4", "--set=rollout.completions_per_prompt=2", "--set=learner.threads=1",
           "--set=model.path=models/quickstart", "--set=eval.max_prompts=4"]  # fmt: skip
WAIT_S = 120


@dataclasses.dataclass
class Process:
    name: str
    popen: subprocess.Popen
    metrics: int  # port
    pod: manifests.Pod

    def get(self, probe: str) -> int:
        """The HTTP status of a probe, 0 when nobody answers."""
        return read_url(f"http://127.0.0.1:{self.metrics}{self.pod.main()[probe]['httpGet']['path']}")[0]

    def terminate(self) -> int | None:
        """SIGTERM; the exit code, or None past the pod's grace (or two minutes)."""
        return stop(self.popen, min(self.pod.grace_s(), WAIT_S))


class Runner(Expectations):
    def __init__(self, overlay: str, binaries: pathlib.Path, scratch: pathlib.Path) -> None:
        super().__init__(overlay)
        self.manifests = manifests.Manifests.rendered(overlay)
        self.binaries, self.scratch = binaries, scratch
        self.learner_port, self.store_port = free_port(), free_port()
        self.processes: list[Process] = []
        self.actors: list[Process] = []
        self.restarts: list[int] = []  # exit codes of actors that had to be started again
        self.goal = ENDLESS  # learner.steps
        (scratch / "run").mkdir()
        self.certs = scratch / "certs"
        make_certificates(self.certs)

    def localize(self, text: str, metrics: int, role: str, certs: pathlib.Path) -> str:
        for old, new in [
            ("tactus-learner:7070", f"localhost:{self.learner_port}"),
            ("0.0.0.0:7070", f"127.0.0.1:{self.learner_port}"),
            ("tactus-learner-hosts-0-0.tactus-learner-hosts:29500", f"localhost:{self.store_port}"),
            ("0.0.0.0:8080", f"127.0.0.1:{metrics}"),
            ("/etc/tactus-tls", str(certs / role)),
            ("/etc/tactus/run.textproto", str(ROOT / "configs/quickstart.textproto")),
            ("/var/lib/tactus", str(self.scratch / "run")),
        ]:
            text = text.replace(old, new)
        return text

    def call(self, container: dict, fields: dict[str, str], metrics: int, role: str, certs: pathlib.Path) -> dict:
        """The command, environment and folder that a container's process is started with, as Popen's arguments."""
        env = {k: self.localize(v, metrics, role, certs) for k, v in self.manifests.environment(container, fields).items()}
        if "TACTUS_RANKS_PER_HOST" in env:
            env["TACTUS_RANKS_PER_HOST"] = "1"
        env.pop("TACTUS_DEVICE", None)  # no GPU here
        words = [self.localize(w, metrics, role, certs) for w in manifests.command(container, env)]
        return {"args": words + SMALLER + [f"--set=learner.steps={self.goal}"], "cwd": ROOT,
                "env": {"PATH": f"{self.binaries}:{os.environ['PATH']}"} | env}  # fmt: skip

    def start(self, pod: manifests.Pod, name: str, certs: pathlib.Path | None = None) -> Process:
        role, metrics, fields = "actor" if pod.kind == "Deployment" else "learner", free_port(), pod.fields(name)
        certs = certs or self.certs
        for c in pod.init():
            done = subprocess.run(**self.call(c, fields, metrics, role, certs), capture_output=True, text=True, timeout=60)
            if done.returncode:
                self.expect(False, f"{name}: {c['name']} ended with {done.returncode}: {done.stderr}")
        with open(self.scratch / f"{name}.log", "ab") as log:
            popen = subprocess.Popen(**self.call(pod.main(), fields, metrics, role, certs), stdin=subprocess.DEVNULL, stdout=log,
                                     stderr=log, start_new_session=True)  # fmt: skip
        self.processes.append(Process(name, popen, metrics, pod))
        return self.processes[-1]

    def within(self, condition: Callable[[], object], what: str) -> None:
        def holds() -> object:
            self.keep_actors()
            return condition()

        self.expect(wait(holds, WAIT_S, every_s=0.05), what)

    def keep_actors(self) -> None:
        """restartPolicy: Always."""
        for i, actor in enumerate(self.actors):
            if (code := actor.popen.poll()) is not None:
                self.restarts.append(code)
                self.actors[i] = self.start(actor.pod, actor.name)

    def steps(self) -> int:
        file = self.scratch / "run" / "metrics.jsonl"
        return len(file.read_text().splitlines()) if file.exists() else 0

    def checkpoints(self) -> list[str]:
        return sorted(p.name for p in (self.scratch / "run" / "checkpoints").glob("step-*"))

    def play(self) -> None:
        learners, actor = self.manifests.learners(), self.manifests.actors()[0]
        self.actors = [self.start(actor, f"tactus-actor-{i}") for i in range(2)]
        self.within(lambda: all(a.get("startupProbe") == 200 for a in self.actors), "an actor without a learner is alive")
        self.expect(all(a.get("readinessProbe") == 503 for a in self.actors), "... and not ready")
        ranks = [self.start(p, f"tactus-learner-{i}") for i, p in enumerate(learners)]
        self.within(lambda: ranks[0].get("startupProbe") == 200 and ranks[0].get("readinessProbe") == 200,
                    "the learner starts, serves and is ready")  # fmt: skip
        self.within(lambda: self.steps() >= 2 or any(r.popen.poll() is not None for r in ranks), "it trains")
        self.within(lambda: all(a.get("readinessProbe") == 200 for a in self.actors), "the actors are ready")
        self.expect(all(x.get("livenessProbe") == 200 for x in [*self.actors, ranks[0]]), "all are alive")
        if "service.tls_cert_path" in " ".join(learners[0].main().get("args", [])):
            self.identities(ranks[0], actor)
        early = 3 if learners[0].kind == "Job" else 130  # of tactus-learner, and of tactus ranks
        code = ranks[-1].terminate()
        self.expect(code == early, f"evicted (host {len(ranks) - 1}), the learner stops with {early} ({code})")
        others = [r.popen.wait(WAIT_S) for r in ranks[:-1]]
        self.expect(all(x == early for x in others), f"... and so do its other hosts ({others})")
        stopped = self.steps()
        self.expect(stopped < ENDLESS and self.checkpoints()[-1:] == [f"step-{stopped:06}"],
                    f"... with a checkpoint of its last step ({stopped}, {self.checkpoints()})")  # fmt: skip
        self.goal = stopped + MORE_STEPS
        ranks = [self.start(p, f"tactus-learner-{i}") for i, p in enumerate(learners)]
        self.within(lambda: self.steps() > stopped, "started again it goes on")
        self.expect(not self.restarts, f"... and so do the actors, which waited for it ({self.restarts})")
        self.within(lambda: self.actors[0].get("readinessProbe") == 200, "... and are ready")
        code = self.actors[0].terminate()
        self.expect(code == 0, f"an actor that is drained leaves with 0 ({code})")
        self.within(lambda: all(r.popen.poll() is not None for r in ranks), "the run ends")
        codes = [r.popen.poll() for r in ranks]
        self.expect(set(codes) == {0} and self.steps() == self.goal, f"... with 0 after {self.steps()} steps ({codes})")

    def identities(self, rank: Process, actor: manifests.Pod) -> None:
        """Who has no business here, and new certificates while it trains."""
        make_expired(self.scratch / "expired", self.certs)
        make_certificates(self.scratch / "another", "another", self.certs)
        served, shown = call(self.learner_port, self.certs / "actor", self.certs / "ca.crt")
        self.expect(served and shown == certificate_in(self.certs / "learner"), "an actor's certificate is let in")
        served, shown = call(self.learner_port, self.scratch / "expired", self.certs / "ca.crt")
        self.expect(shown and not served, "... one that has expired is not")
        before = self.refused(rank)
        served, _ = call(self.learner_port, self.scratch / "another/actor", self.certs / "ca.crt")
        self.expect(served and before == 0 and self.refused(rank) == 1, "another run's, of the same authority, is refused and counted")
        stranger = self.start(actor, "another", certs=self.scratch / "another")
        make_certificates(self.certs)
        begin = self.steps()
        self.within(lambda: call(self.learner_port, self.certs / "actor", self.certs / "ca.crt") == (True, certificate_in(self.certs / "learner")),
                    "certificates made anew while it trains are served without a restart")  # fmt: skip
        late = self.start(actor, "late")
        self.within(lambda: late.get("readinessProbe") == 200, "... an actor with a new one joins those with the old")
        self.within(lambda: self.steps() >= begin + 2, "... and steps are taken")
        self.expect(not self.restarts and late.terminate() == 0, f"... by actors that never left ({self.restarts})")
        self.expect(stranger.popen.poll() != 0 and stranger.get("readinessProbe") != 200, "another run's actor has not got in meanwhile")
        stop(stranger.popen, WAIT_S)

    @staticmethod
    def refused(rank: Process) -> float:
        text = read_url(f"http://127.0.0.1:{rank.metrics}/metrics")[1]
        return sum(float(x) for x in re.findall(r'^tactus_streams_refused_total\{.*reason="wrong_role".*\} (\S+)$', text, re.MULTILINE))

    def finish(self) -> None:
        for process in self.processes:
            if process.popen.poll() is None:
                os.killpg(process.popen.pid, signal.SIGKILL)
                process.popen.wait()
        if self.failures:
            for log in sorted(self.scratch.glob("*.log")):
                print(f"---- {log.name}\n" + "\n".join(log.read_text().splitlines()[-20:]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release", help="build folder")
    binaries = parser.parse_args().build.resolve() / "bin"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # whoever ends the script ends its processes
    failures = 0
    for overlay in ("kind-cpu", "multi-node-gpu"):
        with tempfile.TemporaryDirectory(prefix="tactus-local-") as scratch:
            runner = Runner(overlay, binaries, pathlib.Path(scratch))
            try:
                runner.play()
            except subprocess.TimeoutExpired as error:
                runner.expect(False, str(error))
            finally:
                runner.finish()
            failures += len(runner.failures)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
