"""The processes of a chaos run and who starts them again: two learner ranks and N actors, as a cluster would run them."""

import dataclasses
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from base.local import ROOT, free_port, read_url, stop  # noqa: E402
from chaos.relay import Relay  # noqa: E402

RANKS = 2
SUBNET = "10.214.0"
MARK = "TACTUS_CHAOS"  # in the environment of every process of a chaos run, so that none is overlooked
PROMPTS, COMPLETIONS = 4, 4  # of a step
ENDLESS = 1_000_000  # steps; a run is ended by SIGTERM
FINISHED, MAY_PASS, MISTAKE, STOPPED_EARLY = 0, 1, 2, 3  # exit codes: docs/ARCHITECTURE.md
PAUSE_S = 1.0  # before a process is started again
# Bounds that are part of what is claimed. A rank whose peer died leaves within the collective timeout and some grace.
COLLECTIVE_S, LEASE_S = 20, 20
PEER_DIED_S = COLLECTIVE_S + 40
STOP_S = 90  # from SIGTERM to the learner's exit, with nothing in its way
DRAIN_S = 10


@dataclasses.dataclass
class Member:
    """One process, through all its lives."""

    name: str
    argv: list[str]
    log: pathlib.Path
    metrics: str  # host:port
    site: str = ""  # the network namespace that it runs in; "" = that of the script
    wanted: bool = True
    popen: subprocess.Popen | None = None
    frozen: bool = False  # by SIGSTOP
    starts: int = 0
    start_at: float = 0  # not before, on the monotonic clock
    exits: list[int] = dataclasses.field(default_factory=list)

    def running(self) -> bool:
        return self.popen is not None and self.popen.poll() is None

    def signal(self, sign: signal.Signals) -> None:
        if self.running():
            self.popen.send_signal(sign)


class World:
    """`folder` holds everything; `run` is the learner's run folder, which may be a mount of its own."""

    def __init__(self, folder: pathlib.Path, binaries: pathlib.Path, run: pathlib.Path, seed: int) -> None:
        self.folder, self.binaries, self.run, self.seed = folder, binaries, run, seed
        self.logs = folder / "logs"
        self.logs.mkdir(parents=True)
        self.learner_port, self.store_port = free_port(), free_port()
        self.learners: list[Member] = []
        self.actors: list[Member] = []
        self.failures: list[str] = []
        self.relay: Relay | None = None
        self.sites: list[str] = []  # network namespaces, the last one for rank 1; none where they can't be made
        self.host = "127.0.0.1"  # where rank 0 listens, as the sites see it
        self.environment = {MARK: str(folder)}
        self.peer_died_at: float | None = None
        self.resume = False
        self.notes = open(folder / "events.log", "w", buffering=1)
        self.began = time.monotonic()

    def note(self, text: str) -> None:
        line = f"{time.monotonic() - self.began:8.1f} {text}"
        self.notes.write(line + "\n")
        print(line, flush=True)

    def fail(self, what: str) -> None:
        self.failures.append(what)
        self.note(f"FAILED {what}")

    def settings(self, steps: int) -> list[str]:
        listen = "0.0.0.0" if self.sites else "127.0.0.1"
        values = {
            "model.path": ROOT / "models/quickstart", "seed": self.seed, "optimizer.schedule": "CONSTANT",
            "rollout.prompts_per_step": PROMPTS, "rollout.completions_per_prompt": COMPLETIONS,
            "rollout.max_completion_tokens": 64, "rollout.lease_timeout_s": LEASE_S, "learner.threads": 1, "learner.steps": steps,
            "learner.collective_timeout_s": COLLECTIVE_S, "checkpoint.every_steps": 5, "checkpoint.keep": 2,
            "actor.kv_cache_mib": 16, "service.listen": f"{listen}:{self.learner_port}",
        }  # fmt: skip
        return [f"--set={key}={value}" for key, value in values.items()]

    def site_host(self, site: str) -> str:
        """Where processes of the site are reached."""
        return f"{SUBNET}.{self.sites.index(site) + 2}" if site else "127.0.0.1"

    def add_learners(self, steps: int = ENDLESS) -> None:
        for rank in range(RANKS):
            site = self.sites[-1] if self.sites and rank else ""
            metrics = f"{self.site_host(site)}:{free_port()}"
            argv = [
                f"{self.binaries}/tactus-learner", "--config", f"{ROOT}/configs/quickstart.textproto", "--out", str(self.run),
                "--rank", str(rank), "--world", str(RANKS), "--store", f"{self.host}:{self.store_port}",
                "--metrics-listen", metrics, *self.settings(steps),
            ]  # fmt: skip
            self.learners.append(Member(f"learner-{rank}", argv, self.logs / f"learner-{rank}.log", metrics, site))

    def add_actor(self) -> Member:
        """Actors take turns: through the relay, and at a site of their own where there are some."""
        number = len(self.actors)
        site = self.sites[number // 2 % (len(self.sites) - 1)] if self.sites and number % 2 else ""
        address = f"{self.host}:{self.learner_port}" if site or not self.relay else f"127.0.0.1:{self.relay.port}"
        metrics = f"{self.site_host(site)}:{free_port()}"
        argv = [
            f"{self.binaries}/tactus-actor", "--config", f"{ROOT}/configs/quickstart.textproto", "--learner", address,
            "--instance", f"actor-{number}", "--drain-grace-s", str(DRAIN_S), "--metrics-listen", metrics,
            *self.settings(ENDLESS), "--set=actor.threads=1",
        ]  # fmt: skip
        self.actors.append(Member(f"actor-{number}", argv, self.logs / f"actor-{number}.log", metrics, site))
        return self.actors[-1]

    def members(self) -> list[Member]:
        return [*self.learners, *self.actors]

    def start(self, member: Member) -> None:
        argv = [*member.argv, "--resume"] if self.resume and member in self.learners else member.argv
        if member.site:
            argv = ["nsenter", f"--net=/run/netns/{member.site}", *argv]
        with open(member.log, "ab") as log:
            member.popen = subprocess.Popen(argv, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            start_new_session=True, env=os.environ | self.environment)  # fmt: skip
        member.starts += 1
        member.frozen = False

    def supervise(self) -> None:
        """Starts again what has ended, as a cluster does; what should not have ended so is a failure."""
        for member in self.members():
            if member.popen is None or (code := member.popen.poll()) is None:
                continue
            member.exits.append(code)
            member.popen = None
            member.start_at = time.monotonic() + PAUSE_S
            self.note(f"{member.name} ended with {code}")
            if code == MISTAKE or code in (-signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS):
                self.fail(f"{member.name} ended with {code}: {self.tail(member)}")
        self._supervise_learners()
        for actor in self.actors:
            if actor.popen is None and actor.wanted and time.monotonic() >= actor.start_at:
                self.start(actor)

    def _supervise_learners(self) -> None:
        """Ranks start together. When one is gone the others must leave by themselves, within the bound."""
        running = [rank for rank in self.learners if rank.running()]
        if len(running) == len(self.learners):
            self.peer_died_at = None
        elif running:
            if any(rank.frozen for rank in running) or self.peer_died_at is None:
                self.peer_died_at = time.monotonic()  # one that is stopped can't notice anything
            elif time.monotonic() - self.peer_died_at > PEER_DIED_S:
                self.fail(f"{running[0].name} was still there {PEER_DIED_S} s after another rank had died")
                for rank in running:
                    rank.signal(signal.SIGKILL)
        elif self.learners[0].wanted and all(time.monotonic() >= rank.start_at for rank in self.learners):
            self.peer_died_at = None
            for rank in self.learners:
                self.start(rank)
            self.resume = True

    def stop_learners(self) -> list[int | None]:
        """SIGTERM to one rank ends all; None for one that did not leave within the bound."""
        for rank in self.learners:
            rank.wanted = False
        end = time.monotonic() + STOP_S
        self.learners[0].signal(signal.SIGTERM)
        codes = []
        for rank in self.learners:
            if rank.popen is None:
                codes.append(rank.exits[-1] if rank.exits else None)
                continue
            try:
                codes.append(rank.popen.wait(max(0.1, end - time.monotonic())))
            except subprocess.TimeoutExpired:
                codes.append(None)
        return codes

    def stop_actors(self) -> list[int | None]:
        running = [actor for actor in self.actors if actor.running()]
        for actor in self.actors:
            actor.wanted = False
        for actor in running:
            actor.signal(signal.SIGTERM)
        return [stop(actor.popen, DRAIN_S + 10) for actor in running]

    def end(self) -> None:
        for member in self.members():
            member.wanted = False
            if member.running():
                os.killpg(member.popen.pid, signal.SIGKILL)
                member.popen.wait()

    def step(self) -> int:
        """The last step that metrics.jsonl tells of; 0 while the folder is out of reach."""
        try:
            lines = (self.run / "metrics.jsonl").read_bytes().splitlines()
        except OSError:
            return 0
        return len(lines)

    def scrape(self, member: Member) -> str:
        return read_url(f"http://{member.metrics}/metrics", 0.5)[1] if member.running() and not member.frozen else ""

    def left(self) -> list[str]:
        """The command lines of this run's processes."""
        found = []
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                marked = f"{MARK}={self.folder}".encode() in (entry / "environ").read_bytes().split(b"\0")
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if marked and line:
                found.append(line[:120])
        return found

    def tail(self, member: Member, lines: int = 5) -> str:
        text = member.log.read_text(errors="replace") if member.log.exists() else ""
        return " | ".join(text.splitlines()[-lines:])


def make_shim(folder: pathlib.Path) -> pathlib.Path | None:
    """The library that gives processes a clock of their own; None where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        return None
    shim = folder / "clock_shim.so"
    source = pathlib.Path(__file__).with_name("clock_shim.c")
    subprocess.run([compiler, "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", shim, source, "-ldl"], check=True)
    return shim
