"""When which fault begins, on what, and for how long: drawn from a seed alone, so that the seed gives the same schedule everywhere."""

import dataclasses
import random

GAP_S = 10.0  # mean pause between the beginnings of two faults; less where that would give fewer than LEAST
LEAST = 15
AT_ONCE = 3
HEALED_S = 0.2  # after its end at the latest: times are rounded
# Seconds that a fault lasts, from and to; what takes none happens in a moment.
KINDS = {
    "actor.kill": (0, 0), "actor.term": (0, 0), "actor.stop": (1, 30), "actor.join": (5, 20),
    "learner.kill": (0, 0), "learner.term": (0, 0), "learner.stop": (1, 12),
    "net.delay": (3, 15), "net.silence": (2, 40), "net.cut": (0, 0), "net.partition": (2, 40), "net.loss": (5, 20),
    "disk.full": (3, 15), "disk.slow": (3, 15), "disk.frozen": (1, 8), "disk.gone": (2, 12),
    "clock.jump": (0, 0),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Planned:
    at: float  # seconds from the beginning
    kind: str
    seconds: float
    target: int  # which one, modulo as many as there are
    amount: float  # how much, in [0, 1)

    def part(self) -> str:
        """Two of one part of the world are never disturbed at once, except actors, of which there are several."""
        return self.kind.split(".")[0]


def plan(seed: int, seconds: float, kinds: list[str]) -> list[Planned]:
    """In order. Each kind is begun about equally often. A short run's faults are short."""
    draw = random.Random(seed)
    counts = dict.fromkeys(kinds, 0)
    planned: list[Planned] = []
    at = 0.0
    while at < seconds:
        active = [p for p in planned if p.at + p.seconds + HEALED_S > at]
        busy = {p.part() for p in active} - {"actor"}
        free = [kind for kind in kinds if kind.split(".")[0] not in busy]
        if free and len(active) < AT_ONCE:
            kind = min(draw.sample(free, min(3, len(free))), key=lambda k: counts[k])
            counts[kind] += 1
            lasts = min(draw.uniform(*KINDS[kind]), seconds / 3)
            planned.append(Planned(round(at, 1), kind, round(lasts, 1), draw.randrange(1 << 20), draw.random()))
        at += draw.expovariate(1 / min(GAP_S, seconds / LEAST))
    return planned
