#!/usr/bin/env python3
"""Plays learner, actors and autoscaler for hours in seconds, to judge what tactus:actors_desired asks for at real step times.

    python3 scripts/k8s/scaling_model.py [--rule windows|steps] [--hours 8] [--check]

A model, in one process and on its own clock: actors decode groups of answers whose lengths have a long tail, a token of each
running group at a time and the slower the more they run; a learner takes a step when its prompts are answered, or waits; what
they would expose is scraped every 15 s; the recording rule is computed from that as Prometheus does, and the autoscaler from the
rule as Kubernetes' controller does (tolerance, stabilization, policies; deploy/chart has the numbers). `windows` is the rule
of 0.2.0, shares of time in the last five minutes; `steps` is today's. scripts/k8s/simulate.py has the real Prometheus and the
real controller, and no steps. `--check` ends with 1 where today's rule does not hold what docs/KUBERNETES.md says of it.
"""

import argparse
import collections
import dataclasses
import math
import random
import sys

SCRAPE_S, TOLERANCE, START_S, GROUPS, SLOTS = 15, 0.1, 60, 256, 16
MIN_ACTORS, MAX_ACTORS = 1, 64
# What its behaviour takes from 6 to 24 (a window of 1 min, two doublings) and from 16 to 4 (5 min, then a quarter every 2 min).
AUTOSCALER_MIN = 17


@dataclasses.dataclass
class Case:
    """`balance` is how many actors sample a step in the time that the learner needs for it."""

    name: str
    step_s: float  # of the learner alone
    staleness: int
    balance: float
    actors: int  # at the start
    dies_h: float = math.inf


class Plant:
    """Learner and actors, a tick at a time. A group of answers is [work that is left, its size] in seconds of an idle engine."""

    def __init__(self, case: Case, seed: int) -> None:
        self.case, self.random = case, random.Random(seed)
        self.now, self.step, self.batches, self.training_until = 0.0, 0, 0, 0.0
        self.waiting: collections.deque[list[float]] = collections.deque()
        self.ready: collections.deque[float] = collections.deque()
        self.running: list[list[list[float]]] = [[] for _ in range(case.actors)]
        self.starting: list[float] = []
        self.batch = 0.0
        self.sums = dict.fromkeys(("wait", "learner", "tokens", "busy", "blocked", "done"), 0.0)
        self.demand(case.balance)

    def demand(self, balance: float) -> None:
        """How many actors a step's answers keep busy from now on: longer answers need more."""
        self.mean_s = 4 * balance * self.case.step_s / GROUPS  # a full engine does 4 s of work a second: see tick()

    def resize(self, actors: int) -> None:
        """To so many at once."""
        while len(self.running) > actors:  # its groups are answered anew elsewhere
            self.waiting.extendleft([size, size] for _, size in self.running.pop())
        self.running += [[] for _ in range(actors - len(self.running))]

    def scale(self, wanted: int) -> None:
        """As pods do, which take START_S to start."""
        self.resize(min(wanted, len(self.running)))
        self.starting = self.starting[: max(0, wanted - len(self.running))]
        self.starting += [self.now + START_S] * (wanted - len(self.running) - len(self.starting))

    def tick(self, dt: float) -> None:
        self.now += dt
        while self.starting and self.starting[0] <= self.now:
            self.starting.pop(0)
            self.running.append([])
        alive = self.now < self.case.dies_h * 3600
        while alive and self.batches <= self.step + self.case.staleness:
            sizes = [self.mean_s * self.random.lognormvariate(-0.32, 0.8) for _ in range(GROUPS)]
            self.waiting.extend([size, size] for size in sizes)
            self.batches += 1
        while self.waiting and (least := min(self.running, key=len, default=None)) is not None and len(least) < SLOTS:
            least.append(self.waiting.popleft())
        for groups in self.running:
            self.sums["busy" if groups else "blocked"] += dt
            speed = dt / (1 + 3 * len(groups) / SLOTS)
            for group in groups:
                group[0] -= speed
            for _, size in (g for g in groups if g[0] <= 0):
                self.ready.append(size)
                self.sums["done"] += size
            groups[:] = [g for g in groups if g[0] > 0]
        if alive:
            self.learn(dt)

    def learn(self, dt: float) -> None:
        if self.training_until and self.now >= self.training_until:
            self.training_until = 0.0
            self.step += 1
            self.sums["learner"] += self.case.step_s
            self.sums["tokens"] += self.batch
        if not self.training_until:
            if len(self.ready) >= GROUPS:
                self.batch = sum(self.ready.popleft() for _ in range(GROUPS))
                self.training_until = self.now + self.case.step_s
            else:
                self.sums["wait"] += dt

    def scrape(self) -> dict[str, float]:
        return self.sums | {"step": self.step, "connected": len(self.running)}


class History:
    """What was scraped, a sample every SCRAPE_S."""

    def __init__(self) -> None:
        self.samples: list[dict[str, float]] = []

    def window(self, seconds: float) -> list[dict[str, float]]:
        return self.samples[-int(seconds / SCRAPE_S) - 1 :]

    def increase(self, name: str, seconds: float) -> float:
        window = self.window(seconds)
        return window[-1][name] - window[0][name]


class WindowsRule:
    """connected x (1 - blocked) / (1 - wait), each of five minutes: what 0.2.0 had."""

    def __call__(self, history: History) -> float | None:
        window = history.window(300)
        seconds = (len(window) - 1) * SCRAPE_S
        connected = sum(s["connected"] for s in window) / len(window)
        if not seconds or not connected:
            return None
        blocked = min(0.95, history.increase("blocked", 300) / (seconds * connected))
        wait = min(0.9, history.increase("wait", 300) / seconds)
        return connected * (1 - blocked) / (1 - wait)


class StepsRule:
    """Actor-seconds that the last steps' tokens cost / the learner's own seconds in those steps."""

    def __init__(self) -> None:
        self.costs: list[float] = []

    def __call__(self, history: History) -> float | None:
        done = history.increase("done", 4 * 3600)
        if done:
            self.costs.append(history.increase("busy", 4 * 3600) / done)
        seconds = next((w for w in (120, 300, 900) if history.increase("step", w) >= 3), 3600)
        learner = history.increase("learner", seconds)
        if not learner or not self.costs:
            return None
        cost = min(self.costs[-1], 1.1 * min(self.costs[-int(24 * 3600 / SCRAPE_S) :]))
        return cost * history.increase("tokens", seconds) / learner


class Autoscaler:
    """As Kubernetes' controller, with deploy/chart's behaviour."""

    def __init__(self, actors: int) -> None:
        self.replicas = actors
        self.wishes: list[tuple[float, int]] = []
        self.changes: list[tuple[float, int]] = []  # when, and by how many

    def __call__(self, now: float, value: float | None) -> int:
        if value is None:
            return self.replicas
        wish = self.replicas if abs(value / self.replicas - 1) <= TOLERANCE else math.ceil(value)
        self.wishes.append((now, wish))
        up = min(w for t, w in self.wishes if t > now - 60)
        down = max(w for t, w in self.wishes if t > now - 300)
        new = min(max(self.replicas, up), max(self.replicas, up, down)) if up > self.replicas else min(self.replicas, down)
        if new > self.replicas:
            before = self.replicas - sum(d for t, d in self.changes if t > now - 60 and d > 0)
            new = min(new, max(before * 2, before + 2))
        elif new < self.replicas:
            before = self.replicas - sum(d for t, d in self.changes if t > now - 120 and d < 0)
            new = max(new, min(math.floor(before * 0.75), before - 1))
        new = max(MIN_ACTORS, min(MAX_ACTORS, new))
        if new != self.replicas:
            self.changes.append((now, new - self.replicas))
            self.replicas = new
        return self.replicas


@dataclasses.dataclass
class Outcome:
    actors: list[int]  # replicas at each scrape
    changes_per_hour: float  # in the second half
    settled_steps: int  # until it stays within 15 % of where it ends, or one actor: steps that had ended by then,
    settled_min: float  # the minutes since the first of them (before, nothing is known of a step), or since the start
    wasted: float  # actor-hours beyond those that the ideal number would have had, over those
    steps: int


def play(case: Case, rule, hours: float, seed: int = 1) -> Outcome:
    plant, history, autoscaler = Plant(case, seed), History(), Autoscaler(case.actors)
    dt = min(1.0, case.step_s / 40)
    counts: list[tuple[float, int, int]] = []  # when, steps that have ended, replicas
    next_scrape = 0.0
    while plant.now < hours * 3600:
        plant.tick(dt)
        if plant.now >= next_scrape:
            next_scrape += SCRAPE_S
            history.samples.append(plant.scrape())
            plant.scale(autoscaler(plant.now, rule(history)))
            counts.append((plant.now, plant.step, autoscaler.replicas))
    half = hours * 1800
    replicas = [n for _, _, n in counts]
    first_s = next((t for t, step, _ in counts if step), 0.0)
    unsettled = [(t, step) for t, step, n in counts if abs(n - replicas[-1]) > max(1, 0.15 * replicas[-1])]
    settled_s, step = unsettled[-1] if unsettled else (first_s, 0)
    used, ideal = sum(replicas), max(1, math.ceil(case.balance)) * len(counts)
    late = [t for t, _ in autoscaler.changes if t > half]
    return Outcome(replicas, len(late) / (hours / 2), step, max(0.0, settled_s - first_s) / 60, used / ideal - 1, plant.step)


def cases() -> list[Case]:
    found = []
    for step_s in (10, 60, 240, 900):
        for staleness in (0, 2):
            named = f"{step_s if step_s < 60 else step_s // 60} {'s' if step_s < 60 else 'min'}, S = {staleness}"
            found += [Case(f"{named}, balanced", step_s, staleness, 8, 8), Case(f"{named}, starved", step_s, staleness, 24, 6),
                      Case(f"{named}, blocked", step_s, staleness, 4, 16),
                      Case(f"{named}, learner dies", step_s, staleness, 8, 8, dies_h=1)]  # fmt: skip
    return found


def hours(case: Case) -> float:
    return 3 if case.step_s < 240 else 6 if case.step_s < 900 else 12


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rule", choices=("windows", "steps"), default="steps")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    print("| steps | ideal | actors, 13 times over the hours played | changes an hour | settled after | beyond the ideal |")
    print("|---|---|---|---|---|---|")
    broken = []
    for case in cases():
        o = play(case, WindowsRule() if args.rule == "windows" else StepsRule(), hours(case))
        every = " ".join(str(o.actors[i * (len(o.actors) - 1) // 12]) for i in range(13))
        print(f"| {case.name} | {case.balance:.0f} | {every} | {o.changes_per_hour:.1f} | {o.settled_steps} steps, "
              f"{o.settled_min:.0f} min | {100 * o.wasted:+.0f} % |", flush=True)  # fmt: skip
        if o.changes_per_hour > 1:
            broken.append(f"{case.name}: {o.changes_per_hour:.1f} changes an hour when it has settled, expected 1 at most")
        if case.dies_h < math.inf:  # nothing is known that would be a reason to scale: within the rounding of one
            at_death = o.actors[int(case.dies_h * 3600 / SCRAPE_S)]
            if abs(o.actors[-1] - at_death) > 1:
                broken.append(f"{case.name}: {o.actors[-1]} actors after the learner's end, expected its {at_death}")
        elif o.actors[-1] < case.balance:
            broken.append(f"{case.name}: ends with {o.actors[-1]} actors, expected {case.balance} at least")
        if o.settled_steps > 3 and o.settled_min > AUTOSCALER_MIN:
            broken.append(f"{case.name}: settles after {o.settled_steps} steps and {o.settled_min:.0f} min, expected "
                          f"3 steps, or {AUTOSCALER_MIN} min of the autoscaler's own")  # fmt: skip
    print("\n".join(broken))
    return 1 if broken and args.check else 0


if __name__ == "__main__":
    sys.exit(main())
