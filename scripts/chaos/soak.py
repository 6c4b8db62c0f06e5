#!/usr/bin/env python3
"""Trains the quick start for as long as asked, and measures whether anything grows.

    scripts/soak.sh [--minutes M] [--actors N] [--build build/release] [--keep DIR] [--curve FILE]
    scripts/soak.sh --table FILE

Every 10 seconds one line of the curve: of each process its resident memory, threads and open files; bytes of the run folder's files; the
last step, and the largest difference so far between a sampled and a recomputed log-prob. The first quarter is warm-up. Of the rest the
slope of memory is fitted to the means of 20 blocks, with its 95 % interval. Exit code 1 when a process ends or grows for certain, files
grow beyond their bound, a log-prob differs, a step is missing, or the run does not stop when asked to. The curve is a CSV file (--curve,
else beside the run's folder); --table judges a curve and prints it
as the table of docs/RELIABILITY.md, also while it is being written.
"""

import argparse
import csv
import json
import math
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from base.local import ROOT, Expectations, skip, stop, wait  # noqa: E402

EVERY_S, WARM_UP = 10.0, 0.25
BLOCKS = 20
T_975 = 2.101  # Student's t of 18 degrees of freedom
BEGIN_S, STOP_S = 300, 120
# Growth is certain when the whole interval lies above the bound. A MiB an hour is 170 MiB a week.
MEMORY_MIB_PER_HOUR, COUNT_PER_HOUR = 1.0, 1.0
# Files: what a step may add to those that tell of every step, and what all may come to besides. The log has the steps since the oldest of
# three checkpoints and those until the next, 4 x 25, at half a MB.
STEP_BYTES = {"records": 8 << 10, "samples": 64 << 10, "logs": 128}
WHOLE_BYTES = {"records": 1 << 20, "samples": 1 << 20, "logs": 64 << 10, "submissions": 50 << 20, "checkpoints": 64 << 20}
MEASURES = ("mib", "threads", "files")


def processes(folder: pathlib.Path) -> dict[str, int]:
    """Process ids of the job, by a name: train, learner-0, actor-1 ..."""
    found = {}
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        program = words[0].rsplit("/", 1)[-1]
        if program not in ("tactus", "tactus-learner", "tactus-actor") or not any(str(folder) in word for word in words):
            continue
        name = program.removeprefix("tactus-").replace("tactus", "train")
        for flag in ("--rank", "--instance"):
            if flag in words:
                name = f"{name}-{words[words.index(flag) + 1].rsplit('-', 1)[-1]}"
        found[name] = int(entry.name)
    return found


def measure(pid: int) -> tuple[float, int, int] | None:
    """Resident MiB, threads, open files; None when it has ended."""
    try:
        status = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
        files = len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir()))
        return round(int(status["VmRSS"].split()[0]) / 1024, 2), int(status["Threads"]), files
    except (OSError, KeyError):
        return None


def sizes(folder: pathlib.Path) -> dict[str, int]:
    """Bytes, by what is bounded together."""
    found = dict.fromkeys(WHOLE_BYTES, 0)
    for path in folder.rglob("*"):
        try:
            size = path.stat().st_size if path.is_file() else 0
        except OSError:
            continue  # removed meanwhile
        top = path.relative_to(folder).parts[0]
        key = {"samples.jsonl": "samples", "metrics.jsonl": "records", "timeline.jsonl": "records", "tensorboard": "records"}.get(top, top)
        if key in found:
            found[key] += size
    return found


class Steps:
    """Follows metrics.jsonl. Not thread-safe."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path, self.offset = path, 0
        self.last, self.out_of_order, self.mismatch = 0, 0, 0.0

    def read(self) -> int:
        """The last step; 0 when there was none yet."""
        if not self.path.exists():
            return 0
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self.offset += len(whole)
        for record in map(json.loads, whole.splitlines()):
            self.out_of_order += record["step"] != self.last + 1
            self.last = record["step"]
            self.mismatch = max(self.mismatch, record["mismatch_max"])
        return self.last


class Curve:
    """What was measured; a row a time. Columns: seconds, step, out_of_order, mismatch; bytes; NAME.pid, NAME.mib, ... of each process."""

    def __init__(self, rows: list[dict[str, float]]) -> None:
        self.rows = rows
        self.names = [key.removesuffix(".pid") for key in rows[0] if key.endswith(".pid")] if rows else []

    @staticmethod
    def load(path: pathlib.Path) -> "Curve":
        with open(path, newline="") as file:
            return Curve([{k: float(v or "nan") for k, v in row.items()} for row in csv.DictReader(file) if None not in row.values()])

    def series(self, key: str) -> list[tuple[float, float]]:
        """After the warm-up, where the process was there."""
        begin = WARM_UP * self.rows[-1]["seconds"]
        return [(row["seconds"], row[key]) for row in self.rows if row["seconds"] >= begin and not math.isnan(row[key])]


def slope(points: list[tuple[float, float]]) -> tuple[float, float]:
    """Per hour, by least squares on the means of blocks in time; and half of its 95 % interval."""
    first, last = (points[0][0], points[-1][0]) if points else (0, 0)
    blocks: list[list[tuple[float, float]]] = [[] for _ in range(BLOCKS)]
    for t, y in points:
        blocks[min(BLOCKS - 1, int((t - first) / max(last - first, 1) * BLOCKS))].append((t, y))
    if not all(blocks):
        return 0.0, math.inf
    means = [(sum(t for t, _ in b) / len(b) / 3600, sum(y for _, y in b) / len(b)) for b in blocks]
    mt, my = sum(t for t, _ in means) / BLOCKS, sum(y for _, y in means) / BLOCKS
    spread = sum((t - mt) ** 2 for t, _ in means)
    b = sum((t - mt) * (y - my) for t, y in means) / spread
    residual = sum((y - my - b * (t - mt)) ** 2 for t, y in means)
    return b, T_975 * math.sqrt(residual / (BLOCKS - 2) / spread)


def judge(expect: Expectations, curve: Curve) -> None:
    for name in curve.names:
        pids = {row[f"{name}.pid"] for row in curve.rows}
        expect.expect(len(pids) == 1 and not any(math.isnan(p) for p in pids), f"{name}: one process from the beginning to the end")
        for measured, bound in zip(MEASURES, (MEMORY_MIB_PER_HOUR, COUNT_PER_HOUR, COUNT_PER_HOUR)):
            points = curve.series(f"{name}.{measured}")
            rate, half = slope(points)
            text = f"{name}: {points[0][1]:g} -> {points[-1][1]:g} {measured}, slope {rate:+.2f} ± {half:.2f} an hour"
            expect.expect(rate - half <= bound, f"{text}, not above {bound:g} for certain")
    last = curve.rows[-1]
    expect.expect(last["step"] > 0 and last["out_of_order"] == 0, f"metrics.jsonl has each of {last['step']:.0f} steps once, in order")
    expect.expect(last["mismatch"] == 0, f"the largest difference of a recomputed log-prob is {last['mismatch']:g}")
    for key, whole in WHOLE_BYTES.items():
        bound = {id(row): whole + STEP_BYTES.get(key, 0) * row["step"] for row in curve.rows}
        most = max(curve.rows, key=lambda row: row[key] / bound[id(row)])
        expect.expect(most[key] <= bound[id(most)], f"{key}: {most[key]:.0f} bytes at step {most['step']:.0f}, of at most {bound[id(most)]:.0f}")


def table(curve: Curve) -> str:
    last = curve.rows[-1]
    lines = [f"{last['seconds'] / 60:.0f} minutes, {last['step']:.0f} steps, largest mismatch {last['mismatch']:g}, steps out of order "
             f"{last['out_of_order']:.0f}.", "",
             "| process | RSS after warm-up, at the end, MiB | slope, MiB an hour (95 %) | threads | open files |", "|---|---|---|---|---|"]  # fmt: skip
    for name in curve.names:
        points = curve.series(f"{name}.mib")
        rate, half = slope(points)
        ranges = [f"{min(v):.0f}" if min(v) == max(v) else f"{min(v):.0f} to {max(v):.0f}"
                  for v in ([y for _, y in curve.series(f"{name}.{m}")] for m in MEASURES[1:])]  # fmt: skip
        lines.append(f"| {name} | {points[0][1]:.1f}, {points[-1][1]:.1f} | {rate:+.2f} ± {half:.2f} | {ranges[0]} | {ranges[1]} |")
    lines += ["", "| files | bytes at the end | a step |", "|---|---|---|"]
    for key in WHOLE_BYTES:
        grows = f"{last[key] / last['step']:.0f}" if key in STEP_BYTES else f"bounded; most {max(row[key] for row in curve.rows):.0f}"
        lines.append(f"| {key} | {last[key]:.0f} | {grows} |")
    return "\n".join(lines)


def record(folder: pathlib.Path, steps: Steps, names: list[str], seconds: float, path: pathlib.Path, job: subprocess.Popen) -> None:
    """Until the time is over or the job has ended, each row at once on the disk."""
    columns = ["seconds", "step", "out_of_order", "mismatch", *WHOLE_BYTES, *(f"{n}.{m}" for n in names for m in ("pid", *MEASURES))]
    start = time.monotonic()
    with open(path, "w", newline="", buffering=1) as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        while (now := time.monotonic() - start) < seconds and job.poll() is None:
            steps.read()
            row = {"seconds": round(now, 1), "step": steps.last, "out_of_order": steps.out_of_order, "mismatch": steps.mismatch}
            running = processes(folder)
            for name in names:
                values = measure(running[name]) if name in running else None
                row |= zip((f"{name}.{m}" for m in ("pid", *MEASURES)), (running[name], *values) if values else ("",) * 4)
            writer.writerow(row | sizes(folder))
            time.sleep(EVERY_S)


def soak(arguments: argparse.Namespace, tactus: pathlib.Path) -> int:
    folder = (arguments.keep or pathlib.Path(tempfile.mkdtemp(prefix="tactus-soak-")) / "run").resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = arguments.curve or folder.with_name(f"{folder.name}.curve.csv")
    command = [tactus, "train", "--config", ROOT / "configs/quickstart.textproto", "--out", folder, "--actors", str(arguments.actors),
               "--set", "learner.steps=1000000"]  # fmt: skip
    expect = Expectations()
    with open(f"{folder}.out", "w") as out:
        job = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
        try:
            names = ["train", "learner-0", *(f"actor-{i}" for i in range(arguments.actors))]
            steps = Steps(folder / "metrics.jsonl")
            expect.expect(wait(lambda: steps.read() or job.poll() is not None, BEGIN_S) and steps.last, "the run trains")
            record(folder, steps, names, arguments.minutes * 60, path, job)
        finally:
            code = stop(job, STOP_S, signal.SIGINT)
    expect.expect(code == 130, f"asked to stop, it leaves within {STOP_S} s with 130 ({code})")
    left = processes(folder)
    expect.expect(not left, f"no process is left {left or ''}")
    curve = Curve.load(path)
    judge(expect, curve)
    kept = sorted(p.name for p in (folder / "checkpoints").iterdir())
    expect.expect(kept[-1] >= f"step-{curve.rows[-1]['step']:06.0f}", f"the last checkpoint is that of the end: {kept[-1]}")
    print(f"{table(curve)}\nthe run is in {folder}, its curve in {path}")
    return 1 if expect.failures else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--keep", type=pathlib.Path, help="the run's folder, made new")
    parser.add_argument("--curve", type=pathlib.Path, help="where the measurements go")
    parser.add_argument("--table", type=pathlib.Path, metavar="FILE", help="judge this curve and print it as a table, run nothing")
    arguments = parser.parse_args()
    if arguments.table:
        curve, expect = Curve.load(arguments.table), Expectations()
        judge(expect, curve)
        print(table(curve))
        return 1 if expect.failures else 0
    tactus = arguments.build.resolve() / "bin/tactus"
    if not tactus.exists():
        skip(f"no {tactus}: build it first")
    return soak(arguments, tactus)


if __name__ == "__main__":
    sys.exit(main())
