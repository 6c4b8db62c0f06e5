#!/usr/bin/env python3
"""Runs the pods of k8s/rendered as processes of this machine: are the commands, settings, probes and exit codes right?

    python3 scripts/k8s_run_local.py [--build build/release]

A poor man's kubelet. It takes each container's command, arguments and environment from the manifests, puts local folders and
free ports in place of mounts, Service and pod names, and nothing else besides a shorter run. `kind-cpu` runs as it is;
`multi-node-gpu` with the quick start's configuration, two hosts of one CPU rank each, and certificates of
deploy/certificates/make_certs.sh. It waits for the probes, ends the learner as an eviction does, starts it again as the Job
controller does, drains an actor, and starts actors that have left again, as the Deployment does. Needs PyYAML. Exit code 1 when an expectation fails.
"""

import argparse
import dataclasses
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import check_k8s  # noqa: E402
import k8s_policy  # noqa: E402

ROOT = check_k8s.ROOT
ENDLESS, MORE_STEPS = 1_000_000, 40  # until it is ended, and after it was started again
SMALLER = ["--set=rollout.prompts_per_step=4", "--set=rollout.completions_per_prompt=2", "--set=learner.threads=1",
           "--set=model.path=models/quickstart"]  # fmt: skip
WAIT_S = 120


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@dataclasses.dataclass
class Process:
    name: str
    popen: subprocess.Popen
    metrics: int  # port
    probes: dict
    grace_s: float

    def get(self, probe: str) -> int:
        """The HTTP status of a probe, 0 when nobody answers."""
        path = self.probes[probe]["httpGet"]["path"]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}{path}", timeout=3) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def terminate(self) -> int | None:
        """SIGTERM; the exit code, or None past the pod's grace (or two minutes)."""
        self.popen.send_signal(signal.SIGTERM)
        try:
            return self.popen.wait(min(self.grace_s, WAIT_S))
        except subprocess.TimeoutExpired:
            return None


class Runner:
    def __init__(self, overlay: str, binaries: pathlib.Path, scratch: pathlib.Path) -> None:
        objects = check_k8s.load((check_k8s.RENDERED / f"{overlay}.yaml").read_text())
        self.manifests = k8s_policy.Manifests(overlay, objects)
        self.binaries, self.scratch = binaries, scratch
        self.learner_port, self.store_port = free_port(), free_port()
        self.processes: list[Process] = []
        self.actors: list[Process] = []
        self.restarts: list[int] = []  # exit codes of actors that were started again
        self.actor_pod = next(p for p in self.manifests.pods() if p.kind == "Deployment")
        self.failures = 0
        self.goal = ENDLESS  # learner.steps
        (scratch / "run").mkdir()
        subprocess.run([ROOT / "deploy/certificates/make_certs.sh", scratch / "certs"], check=True, stdout=subprocess.DEVNULL)

    def expect(self, holds: bool, what: str) -> None:
        print(f"{'ok' if holds else 'FAILED':6} {self.manifests.name}: {what}", flush=True)
        self.failures += not holds

    def localize(self, text: str, metrics: int, role: str) -> str:
        for old, new in [
            ("tactus-learner:7070", f"localhost:{self.learner_port}"),
            ("0.0.0.0:7070", f"127.0.0.1:{self.learner_port}"),
            ("tactus-learner-hosts-0-0.tactus-learner-hosts:29500", f"localhost:{self.store_port}"),
            ("0.0.0.0:8080", f"127.0.0.1:{metrics}"),
            ("/etc/tactus-tls", str(self.scratch / "certs" / role)),
            ("/etc/tactus/qwen3_4b_countdown.textproto", str(ROOT / "configs/quickstart.textproto")),
            ("/etc/tactus", str(ROOT / "configs")),
            ("/var/lib/tactus", str(self.scratch / "run")),
        ]:
            text = text.replace(old, new)
        return text

    def environment(self, container: dict, own: dict[str, str], metrics: int, role: str) -> dict[str, str]:
        env = {k: v if v is not None else own[k] for k, v in k8s_policy.environment(self.manifests, container).items()}
        if "TACTUS_RANKS_PER_HOST" in env:
            env["TACTUS_RANKS_PER_HOST"] = "1"
        return {"PATH": f"{self.binaries}:{os.environ['PATH']}"} | {k: self.localize(v, metrics, role) for k, v in env.items()}

    def command(self, container: dict, env: dict[str, str], metrics: int, role: str) -> list[str]:
        words = container["command"] + container.get("args", [])
        for name, value in env.items():
            words = [w.replace(f"$({name})", value) for w in words]
        return [self.localize(w, metrics, role) for w in words] + SMALLER + [f"--set=learner.steps={self.goal}"]

    def start(self, pod: k8s_policy.Pod, name: str) -> Process:
        role, metrics = "actor" if pod.kind == "Deployment" else "learner", free_port()
        own = {"TACTUS_INSTANCE": name, "TACTUS_HOST_INDEX": pod.labels.get(k8s_policy.INDEX, "")}
        for c in pod.spec["initContainers"]:
            env = self.environment(c, own, metrics, role)
            done = subprocess.run(self.command(c, env, metrics, role), env=env, cwd=ROOT, capture_output=True, text=True, timeout=60)
            if done.returncode:
                self.expect(False, f"{name}: {c['name']} ended with {done.returncode}: {done.stderr}")
        c = pod.main()
        env = self.environment(c, own, metrics, role)
        log = open(self.scratch / f"{name}.log", "ab")
        popen = subprocess.Popen(self.command(c, env, metrics, role), env=env, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log,
                                 stderr=log, start_new_session=True)  # fmt: skip
        probes = {k: c[k] for k in ("startupProbe", "readinessProbe", "livenessProbe")}
        self.processes.append(Process(name, popen, metrics, probes, pod.spec["terminationGracePeriodSeconds"]))
        return self.processes[-1]

    def within(self, condition: object, what: str) -> None:
        end = time.monotonic() + WAIT_S
        while not (holds := condition()) and time.monotonic() < end:
            self.keep_actors()
            time.sleep(0.05)
        self.expect(bool(holds), what)

    def keep_actors(self) -> None:
        """restartPolicy: Always. An actor that is attached when its learner stops leaves with 0."""
        for i, actor in enumerate(self.actors):
            if (code := actor.popen.poll()) is not None:
                self.restarts.append(code)
                self.actors[i] = self.start(self.actor_pod, actor.name)

    def steps(self) -> int:
        file = self.scratch / "run" / "metrics.jsonl"
        return len(file.read_text().splitlines()) if file.exists() else 0

    def checkpoints(self) -> list[str]:
        return sorted(p.name for p in (self.scratch / "run" / "checkpoints").glob("step-*"))

    def play(self) -> None:
        pods = self.manifests.pods()
        learners = [p for p in pods if p.kind != "Deployment"]
        self.actors = [self.start(self.actor_pod, f"tactus-actor-{i}") for i in range(2)]
        self.within(lambda: all(a.get("startupProbe") == 200 for a in self.actors), "an actor without a learner is alive")
        self.expect(all(a.get("readinessProbe") == 503 for a in self.actors), "... and not ready")
        ranks = [self.start(p, f"tactus-learner-{i}") for i, p in enumerate(learners)]
        self.within(lambda: ranks[0].get("startupProbe") == 200 and ranks[0].get("readinessProbe") == 200,
                    "the learner starts, serves and is ready")  # fmt: skip
        self.within(lambda: self.steps() >= 2 or any(r.popen.poll() is not None for r in ranks), "it trains")
        self.within(lambda: all(a.get("readinessProbe") == 200 for a in self.actors), "the actors are ready")
        self.expect(all(x.get("livenessProbe") == 200 for x in [*self.actors, ranks[0]]), "all are alive")
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
        self.expect(set(self.restarts) <= {0}, f"... and so do the actors, of which some left with 0 ({self.restarts})")
        self.within(lambda: self.actors[0].get("readinessProbe") == 200, "... and are ready")
        code = self.actors[0].terminate()
        self.expect(code == 0, f"an actor that is drained leaves with 0 ({code})")
        self.within(lambda: all(r.popen.poll() is not None for r in ranks), "the run ends")
        codes = [r.popen.poll() for r in ranks]
        self.expect(set(codes) == {0} and self.steps() == self.goal, f"... with 0 after {self.steps()} steps ({codes})")

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
            failures += runner.failures
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
