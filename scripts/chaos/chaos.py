#!/usr/bin/env python3
"""Trains on this machine while processes, network, disk and clock are disturbed at random, then holds the books together.

    scripts/chaos.sh [--minutes M] [--actors N] [--seed S] [--only KIND,...] [--plan] [--build build/release] [--keep DIR]

A learner of two ranks and N actors run as a cluster would run them: what ends is started again. The seed alone gives the schedule of
faults (scripts/chaos/schedule.py; --plan prints it): SIGKILL, SIGSTOP and SIGTERM of any process, actors that join and leave; a relay
that is slow, goes silent or resets; as root also network namespaces whose link is down or loses packets, a run folder on a disk
that is full, slow, stands still or is gone; wall clocks that jump. What cannot be done here is named with its reason. Then the
faults end, the run must go on and stop when asked to, and is compared with an undisturbed run of as many steps in synchronous mode:
weights bit for bit, each step once, both sides' books, no process left, no wait beyond its bound. Exit code 1 when something does
not hold; the folder is then kept.
"""

import argparse
import math
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from base.local import ROOT, Expectations, free_port, skip, wait  # noqa: E402
from chaos import books  # noqa: E402
from chaos.faults import Faults, Heal  # noqa: E402
from chaos.relay import Relay  # noqa: E402
from chaos.schedule import KINDS, Planned, plan  # noqa: E402
from chaos.world import RANKS, STOP_S, STOPPED_EARLY, World, make_shim  # noqa: E402

TICK_S, SCRAPE_S = 0.1, 1.0
SITES = 3  # two of actors, one of rank 1
STUCK_S = 240  # between two steps; no fault lasts as long, nor do a dead rank, a resume and a step after it
CALM_STEPS = 3  # after the last fault
MOST_FAILURES = 10  # then it is known well enough


class Scraper:
    """Reads every process's metrics once a second, in a thread of its own since who is cut off does not answer at once. The books are
    the caller's once `end` has returned."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.learner, self.actors = books.ScrapedBooks(), books.ActorBooks()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(SCRAPE_S):
            for member in [self.world.learners[0], *self.world.actors]:
                life = member.starts
                if (text := self.world.scrape(member)) and life == member.starts:
                    if member in self.world.actors:
                        self.actors.add(member.name, life, text)
                    else:
                        self.learner.add(life, text)

    def settle(self, seconds: float) -> None:
        """Waits until actors hear of no more groups; they count about once a second."""
        seen: list[float] = []

        def same() -> bool:
            seen.append(self.actors.groups())
            return len(seen) > 3 and seen[-1] == seen[-4]

        wait(same, seconds, every_s=SCRAPE_S)

    def end(self) -> None:
        self._over.set()
        self._thread.join()


class Disturbance:
    """A world through its schedule of faults."""

    def __init__(self, world: World, faults: Faults) -> None:
        self.world, self.means = world, faults
        self.active: list[tuple[Planned, str, Heal]] = []
        self.done: dict[str, int] = {}
        self.missed = 0  # there was nothing to do it to
        self.best, self.moved_at = 0, time.monotonic()
        self.longest_s = 0.0  # between two steps

    def heal(self, until: float) -> None:
        """Those that end by then, in seconds of the schedule."""
        for item in [x for x in self.active if x[0].at + x[0].seconds <= until]:
            self.active.remove(item)
            planned, what, heal = item
            if planned.seconds:
                self.world.note(f"healed {planned.kind} {what}")
            heal()

    def tick(self) -> None:
        now = time.monotonic()
        self.means.tick()
        self.world.supervise()
        done = self.world.step()
        if done > self.best:
            self.longest_s = max(self.longest_s, now - self.moved_at)
            self.best, self.moved_at = done, now
        elif now - self.moved_at > STUCK_S:
            self.world.fail(f"no step for {STUCK_S} s at step {self.best}: {self.world.tail(self.world.learners[0])}")
            self.moved_at = now
        time.sleep(TICK_S)

    def begin(self, planned: Planned) -> None:
        hit = self.means.kinds[planned.kind](planned)
        if hit is None:
            self.missed += 1
            return
        what, heal = hit
        self.done[planned.kind] = self.done.get(planned.kind, 0) + 1
        self.world.note(f"{planned.kind} {what}" + (f" for {planned.seconds:.1f} s" if planned.seconds else ""))
        self.active.append((planned, what, heal))

    def faults(self) -> int:
        return sum(self.done.values())

    def play(self, schedule: list[Planned], seconds: float) -> None:
        start = time.monotonic()
        waiting = [planned for planned in schedule if planned.kind in self.means.kinds]
        while (now := time.monotonic() - start) < seconds and len(self.world.failures) < MOST_FAILURES:
            while waiting and waiting[0].at <= now:
                self.heal(waiting[0].at)
                self.begin(waiting.pop(0))
            self.heal(now)
            self.tick()
        self.heal(math.inf)

    def steps(self, count: int) -> bool:
        """Waits for so many steps more."""
        goal, end = self.world.step() + count, time.monotonic() + STUCK_S
        while self.world.step() < goal and time.monotonic() < end:
            self.tick()
        return self.world.step() >= goal


def undisturbed(arguments: argparse.Namespace, steps: int) -> pathlib.Path | None:
    """The folder of a run of as many steps with one actor; None when it did not finish."""
    world = World(arguments.folder / "reference", arguments.build / "bin", arguments.folder / "reference/run", arguments.seed)
    world.add_learners(steps)
    world.add_actor()
    try:
        for member in world.members():
            world.start(member)
        wait(lambda: all(not rank.running() for rank in world.learners), 60 + 20 * steps, every_s=0.2)
        codes = [rank.popen.poll() for rank in world.learners]
        return world.run if codes == [0] * RANKS else None
    finally:
        world.end()


def prepare(arguments: argparse.Namespace, world: World, faults: Faults) -> None:
    """The network, the disk and the clock, as far as they can be had here."""
    world.relay = Relay(free_port(), world.learner_port)
    if shim := make_shim(arguments.folder):
        faults.make_clock(shim)
    else:
        faults.impossible["clock.jump"] = "no C compiler"
    world.run.mkdir()
    if not arguments.inside:
        faults.impossible |= {kind: "namespaces and mounts need root" for kind in KINDS if kind not in faults.kinds}
        return
    faults.make_sites(SITES)
    try:
        faults.make_disk(arguments.folder / "disk.img")
    except (OSError, subprocess.CalledProcessError) as error:
        faults.impossible |= {kind: f"no file system in a file can be mounted ({error})" for kind in KINDS if kind.startswith("disk")}


def stop(expect: Expectations, world: World, scraper: Scraper, when: str) -> books.AtRest:
    """The learner first, so that actors hear what became of their groups; then the actors."""
    codes = world.stop_learners()
    expect.expect(codes == [STOPPED_EARLY] * RANKS, f"{when}: asked to stop, the ranks leave within {STOP_S} s ({codes})")
    scraper.settle(20)
    scraper.end()
    codes = world.stop_actors()
    expect.expect(set(codes) <= {0}, f"{when}: so do the actors ({codes})")
    return books.AtRest.read(world.run)


def train(arguments: argparse.Namespace, expect: Expectations, world: World, faults: Faults) -> tuple[Disturbance, books.ScrapedBooks]:
    """Under faults, then without."""
    world.add_learners()
    for _ in range(arguments.actors):
        world.add_actor()
    for member in world.members():
        world.start(member)
    world.resume = True
    disturbance, scraper = Disturbance(world, faults), Scraper(world)
    expect.expect(disturbance.steps(1), "it trains")
    disturbance.play(plan(arguments.seed, arguments.minutes * 60, arguments.only), arguments.minutes * 60)
    world.note("the faults end")
    expect.expect(disturbance.steps(CALM_STEPS), f"without faults it goes on, to step {world.step()}")
    starts = ", ".join(f"{m.name} {m.starts}" for m in world.members())
    before = stop(expect, world, scraper, "after the faults")
    books.check_disturbed(expect, before, scraper.actors)

    world.note("once more, without faults")
    for member in world.members()[: RANKS + arguments.actors]:
        member.wanted = True
        world.start(member)
    calm = Scraper(world)
    expect.expect(disturbance.steps(CALM_STEPS), f"resumed, it goes on, to step {world.step()}")
    after = stop(expect, world, calm, "at the end")
    books.check_calm(expect, before, after, calm.actors)
    print(f"faults: {disturbance.faults()}, and {disturbance.missed} with nothing to hit: "
          + ", ".join(f"{n} {kind}" for kind, n in sorted(disturbance.done.items())))  # fmt: skip
    print(f"the longest time between two steps was {disturbance.longest_s:.1f} s; starts: {starts}")
    return disturbance, scraper.learner


def row(arguments: argparse.Namespace, disturbance: Disturbance, scraped: books.ScrapedBooks, steps: int, failures: int) -> str:
    """Of the table in docs/RELIABILITY.md."""
    world = disturbance.world
    ranks, actors = (sum(m.starts for m in members) for members in (world.learners, world.actors))
    return (f"| {arguments.seed} | {arguments.minutes:g}, {arguments.actors} | {disturbance.faults()} of {len(disturbance.done)} kinds "
            f"| {ranks}, {actors} | {steps} | {disturbance.longest_s:.0f} s | {scraped.scrapes} | {f'{failures} failures' if failures else 'all held'} |")  # fmt: skip


def play(arguments: argparse.Namespace) -> int:
    world = World(arguments.folder / "chaos", arguments.build / "bin", arguments.folder / "run", arguments.seed)
    faults, expect = Faults(world), Expectations()
    copy = arguments.folder / "run-after"
    try:
        prepare(arguments, world, faults)
        for kind, why in sorted(faults.impossible.items()):
            print(f"left out: {kind}: {why}")
        world.note(f"seed {arguments.seed}, {arguments.actors} actors, {arguments.minutes:g} minutes")
        disturbance, scraped = train(arguments, expect, world, faults)
        left = world.left()
        expect.expect(not left, f"no process is left {left or ''}")
        shutil.copytree(world.run, copy)
    finally:
        world.end()
        if faults.device:
            faults.unmake_disk()
    checkpoint = books.newest_checkpoint(copy)
    steps = int(checkpoint.name.removeprefix("step-")) if checkpoint else 0
    reference = undisturbed(arguments, steps) if checkpoint else None
    if expect.expect(reference, "an undisturbed run of as many steps finished"):
        books.check(expect, copy, reference, scraped)
    expect.expect(not world.failures, f"no process ended as it must not, and no wait passed its bound {world.failures or ''}")
    print(row(arguments, disturbance, scraped, steps, len(expect.failures)))
    return 1 if expect.failures else 0


def in_namespaces(arguments: argparse.Namespace) -> int | None:
    """Plays with a network, a /run/netns, mounts and process ids of its own: nothing of it is left on the machine. None without root."""
    unshare = ["unshare", "--net", "--mount", "--pid", "--fork"]
    probe = [*unshare, "sh", "-c", "mount -t tmpfs tmpfs /run && ip link add x type bridge"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        return None
    words = [f"--{name}={getattr(arguments, name)}" for name in ("minutes", "actors", "seed", "folder", "build")]
    words += [f"--only={','.join(arguments.only)}", "--inside"]
    script = 'mount -t tmpfs tmpfs /run && mkdir /run/netns && exec "$@"'
    return subprocess.call([*unshare, "--kill-child", "--mount-proc", "sh", "-c", script, "sh", sys.executable, __file__, *words])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60, help="of faults; what stands around them comes on top")
    parser.add_argument("--actors", type=int, default=8)
    parser.add_argument("--seed", type=int, default=int(time.time()) % 100000, help="of the schedule and of the run [the time]")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(KINDS), help="these kinds alone, as in actor.kill,net.cut")
    parser.add_argument("--plan", action="store_true", help="print the schedule, run nothing")
    parser.add_argument("--build", type=lambda text: pathlib.Path(text).resolve(), default=ROOT / "build/release")
    parser.add_argument("--keep", type=pathlib.Path, help="leave everything in this new folder")
    parser.add_argument("--folder", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)  # in namespaces of its own, as root
    arguments = parser.parse_args()
    if unknown := set(arguments.only) - set(KINDS):
        parser.error(f"--only names {', '.join(sorted(unknown))}: expected some of {','.join(KINDS)}")
    if arguments.plan:
        for planned in plan(arguments.seed, arguments.minutes * 60, arguments.only):
            print(f"{planned.at:8.1f} {planned.kind:14} {planned.seconds:5.1f} s  target {planned.target}  amount {planned.amount:.3f}")
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if not (arguments.build / "bin/tactus-learner").exists():
        skip(f"no {arguments.build}/bin/tactus-learner: build it first")
    if arguments.inside:
        return play(arguments)
    arguments.folder = (arguments.keep or pathlib.Path(tempfile.mkdtemp(prefix="tactus-chaos-"))).resolve()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    code = in_namespaces(arguments)
    if code is None:
        code = play(arguments)
    if code == 0 and not arguments.keep:
        shutil.rmtree(arguments.folder)
    else:
        print(f"logs and run folders are in {arguments.folder}")
    return code


if __name__ == "__main__":
    sys.exit(main())
