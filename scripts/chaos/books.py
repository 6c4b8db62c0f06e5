"""What must hold after a chaos run, read from what each side wrote: metrics.jsonl, checkpoints, the log, /metrics."""

import dataclasses
import hashlib
import json
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from base.local import ROOT, Expectations  # noqa: E402
from chaos.world import COMPLETIONS, PROMPTS  # noqa: E402

UNDER_WAY = 2 * PROMPTS  # groups that may be made durable when nobody can be told any more

# Of a step's record: what depends on the machine's pace, on which actors there were, or on the incarnation: after a restart
# tokens that were sampled before it are by name another version's.
PACE = re.compile(r"time|phase_|streamed_s|per_s$|cpu_share|actors_connected|version|audited|on_policy")


def total(text: str, name: str, label: str = "") -> float | None:
    """The sum of a metric's series in a scrape, or of those with a label; None when it has none."""
    found = [value for labels, value in re.findall(rf"^{name}(\{{.*?\}})? (\S+)$", text, re.M) if label in labels]
    return sum(map(float, found)) if found else None


class ActorBooks:
    """How many groups actors were told are durable, by each life's last scrape: one that is killed knew of as many at least. Not
    thread-safe."""

    def __init__(self) -> None:
        self.lives: dict[tuple[str, int], float] = {}

    def add(self, name: str, life: int, text: str) -> None:
        value = total(text, "tactus_actor_trajectories_total", 'outcome="acknowledged"')
        if value is not None:
            self.lives[name, life] = value / COMPLETIONS

    def groups(self) -> float:
        return sum(self.lives.values())


class ScrapedBooks:
    """The learner's books at each scrape. What a process found in the log when it began is in its queue and was accepted by one before
    it, so accepted - trained - dropped - queued is constant from its first delivery on. A scrape may fall between two counters of one
    event: only what two scrapes in a row show counts. Not thread-safe."""

    NAMES = ("received", "accepted", "rejected", "trained", "dropped")

    def __init__(self) -> None:
        self.life, self.scrapes = -1, 0
        self.balance: float | None = None  # of this life; None = not seen twice in a row yet
        self.last: tuple[float, bool] | None = None
        self.failures: list[str] = []

    def add(self, life: int, text: str) -> None:
        """`life` counts the process's starts: counters begin at 0 with each."""
        if life != self.life:
            self.life, self.balance, self.last = life, None, None
        values = {name: total(text, f"tactus_trajectories_{name}_total") or 0 for name in self.NAMES}
        values["queued"] = total(text, "tactus_trajectory_queue_depth") or 0
        if not values["received"]:
            return  # it may not have read the log yet
        self.scrapes += 1
        balance = values["accepted"] - values["trained"] - values["dropped"] - values["queued"]
        adds_up = values["received"] == values["accepted"] + values["rejected"]
        seen, self.last = self.last, (balance, adds_up)
        if seen and self.balance is None and balance == seen[0]:
            self.balance = balance
        wrong = [not up or (self.balance is not None and b != self.balance) for b, up in (seen or (balance, True), self.last)]
        if all(wrong):
            self.failures.append(f"life {life}: {values}, balance {self.balance}")


def newest_checkpoint(run: pathlib.Path) -> pathlib.Path | None:
    found = sorted((run / "checkpoints").glob("step-*"))
    return found[-1] if found else None


def ledger_counters(checkpoint: pathlib.Path) -> dict[str, int]:
    """The ledger's counters in state.pb, decoded by protoc; lists are summed."""
    state = (checkpoint / "state.pb").read_bytes()
    done = subprocess.run(["protoc", f"-I{ROOT}", "--decode=tactus.wire.CheckpointState", "proto/checkpoint.proto"],
                          input=state, capture_output=True, check=True, cwd=ROOT)  # fmt: skip
    body = re.search(rb"^  counters \{(.*?)^  \}", done.stdout, re.M | re.S)
    counters: dict[str, int] = {}
    for key, value in re.findall(rb"^    (\w+): (\d+)", body[1] if body else b"", re.M):
        counters[key.decode()] = counters.get(key.decode(), 0) + int(value)
    if segment := re.search(rb"^  log_segment: (\d+)", done.stdout, re.M):
        counters["log_segment"] = int(segment[1])
    return counters


def logged_groups(run: pathlib.Path, checkpoint: pathlib.Path) -> int:
    """Intact records of the write-ahead log that the checkpoint does not hold (learner/ledger/submission_log.h)."""
    first = ledger_counters(checkpoint).get("log_segment", 0)
    count = 0
    for segment in sorted((run / "submissions").glob("group-*.log")):
        rest = segment.read_bytes() if int(segment.stem.removeprefix("group-")) >= first else b""
        while len(rest) >= 20:
            length = int.from_bytes(rest[:4], "little")
            payload = rest[20 : 20 + length]
            if len(payload) < length or hashlib.sha256(payload).hexdigest()[:16].encode() != rest[4:20]:
                break
            count, rest = count + 1, rest[20 + length :]
    return count


@dataclasses.dataclass(frozen=True)
class AtRest:
    """The learner's books when it has stopped."""

    counters: dict[str, int]
    logged: int  # groups in the log that the checkpoint does not hold

    @staticmethod
    def read(run: pathlib.Path) -> "AtRest":
        checkpoint = newest_checkpoint(run)
        return AtRest(ledger_counters(checkpoint), logged_groups(run, checkpoint)) if checkpoint else AtRest({}, 0)

    def durable(self) -> int:
        """Groups."""
        return self.counters.get("accepted", 0) + self.logged


def check_disturbed(expect: Expectations, rest: AtRest, actors: ActorBooks) -> None:
    """Kills take an actor's last second with them, so what it was told is at least what was scraped."""
    expect.expect(0 < actors.groups() <= rest.durable(),
                  f"under faults: of at least {actors.groups():.0f} groups that {len(actors.lives)} actor lives were told are durable, "
                  f"{rest.durable()} are")  # fmt: skip


def check_calm(expect: Expectations, before: AtRest, after: AtRest, actors: ActorBooks) -> None:
    """Without faults both sides count the same groups, but for those under way when the learner stopped."""
    durable = after.durable() - before.durable()
    expect.expect(actors.groups() <= durable <= actors.groups() + UNDER_WAY,
                  f"without faults: of {actors.groups():.0f} groups that actors were told are durable, {durable} are")  # fmt: skip


def steps(run: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def weights_hash(checkpoint: pathlib.Path | None) -> str:
    return hashlib.sha256((checkpoint / "model/model.safetensors").read_bytes()).hexdigest() if checkpoint else "none"


def same_step(a: dict, b: dict) -> list[str]:
    """The keys in which two records of one step differ, pace aside."""
    return [key for key in sorted(a.keys() | b.keys()) if not PACE.search(key) and a.get(key) != b.get(key)]


def check(expect: Expectations, run: pathlib.Path, reference: pathlib.Path, scraped: ScrapedBooks) -> None:
    """Holds a run's folder against that of an undisturbed run of as many steps."""
    checkpoint = newest_checkpoint(run)
    done = int(checkpoint.name.removeprefix("step-")) if checkpoint else 0
    records, others = steps(run), steps(reference)
    expect.expect([r["step"] for r in records] == list(range(1, done + 1)), f"metrics.jsonl has each of the {done} steps once, in order")
    expect.expect(all(r.get("mismatch_max") in (0, None) for r in records), "every recomputed log-prob has the bits of the sampled one")
    different = {r["step"]: keys for r, o in zip(records, others) if (keys := same_step(r, o))}
    expect.expect(len(records) == len(others) and not different,
                  f"every step's numbers are those of the undisturbed run {dict(list(different.items())[:3]) or ''}")  # fmt: skip
    expect.expect(weights_hash(checkpoint) == weights_hash(newest_checkpoint(reference)), "the weights are bit-identical to its weights")
    counters = ledger_counters(checkpoint) if checkpoint else {}
    get = lambda name: counters.get(name, 0)  # noqa: E731 - protoc leaves out what is 0
    expect.expect(get("received") == get("accepted") + get("rejected"), f"the ledger: received = accepted + rejected {counters}")
    expect.expect(get("accepted") == get("trained") + get("queued") + get("dropped"), "the ledger: accepted = trained + queued + dropped")
    expect.expect(get("trained") == done * PROMPTS, f"the ledger: trained is what {done} steps take")
    for failure in scraped.failures[:5]:
        print(f"       {failure}")
    expect.expect(scraped.scrapes > 0 and not scraped.failures, f"the books held at each of {scraped.scrapes} scrapes")
