#!/usr/bin/env python3
"""Measures two or more workers in turn, A B A B ..., and writes medians with their range.

    python bench/peers/compare.py NAME --pairs 5 --side tactus 'COMMAND' --side peer 'COMMAND' [--log bench/results/FILE]

Each command is a worker (see worker.py). All are started and warmed by one run that is not counted; then each round runs every
side once, in an order that turns about from round to round, so that a drifting clock hits all alike. Only one works at a time.
With --lock FILE each round waits for that file's lock and holds it: other work on the machine that holds it shared stays out.
Prints one JSON record and appends it to the log: per side the tokens/s of every run, the median and the range; per side after the
first, the median and the range of (first side's tokens/s) / (this side's tokens/s) over the rounds.
"""

import argparse
import contextlib
import fcntl
import json
import os
import pathlib
import platform
import selectors
import shlex
import statistics
import subprocess
import time

ANSWER_S = 1800  # a run on a slow machine takes minutes


class Side:
    def __init__(self, name: str, command: str):
        self.name, self.runs = name, []
        self.process = subprocess.Popen(shlex.split(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.about = self.read()["ready"]

    def read(self) -> dict:
        with selectors.DefaultSelector() as waiting:
            waiting.register(self.process.stdout, selectors.EVENT_READ)
            if not waiting.select(ANSWER_S):
                self.process.kill()
                raise SystemExit(f"{self.name} gave no answer within {ANSWER_S} s")
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with exit code {self.process.wait()} before it answered")
        return json.loads(line)

    def run(self) -> dict:
        self.process.stdin.write("run\n")
        return self.read()

    def close(self) -> None:
        self.process.stdin.close()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()


def spread(values: list[float]) -> dict:
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "n": len(values)}


def machine() -> dict:
    cpu = next((x.split(":")[1].strip() for x in open("/proc/cpuinfo") if x.startswith("model name")), platform.machine())
    return {"cpu": cpu, "cores": os.cpu_count(), "load_before": os.getloadavg()[0]}


def commit() -> str:
    root = pathlib.Path(__file__).resolve().parents[2]
    done = subprocess.run(["git", "-C", str(root), "describe", "--always", "--dirty"], capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


@contextlib.contextmanager
def alone(lock: pathlib.Path | None):
    if lock is None:
        yield
        return
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def measure(name: str, sides: list[Side], pairs: int, lock: pathlib.Path | None) -> dict:
    with alone(lock):
        for side in sides:
            side.run()
    for round_index in range(pairs):
        with alone(lock):
            for side in sides if round_index % 2 == 0 else reversed(sides):
                side.runs.append(side.run())
    speeds = {s.name: [r["tokens"] / r["seconds"] for r in s.runs] for s in sides}
    record = {
        "name": name,
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "commit": commit(),
        "sides": {
            s.name: s.about | {"tokens_per_s": spread(speeds[s.name]), "all_tokens_per_s": [round(x, 1) for x in speeds[s.name]],
                               "peak_rss_mb": max(r.get("peak_rss_mb", 0) for r in s.runs)}
            for s in sides
        },
        "faster_by": {
            f"{sides[0].name}/{s.name}": spread([a / b for a, b in zip(speeds[sides[0].name], speeds[s.name])]) for s in sides[1:]
        },
    }
    decode = [(s.name, [r["tokens"] / r["decode_seconds"] for r in s.runs]) for s in sides if "decode_seconds" in s.runs[0]]
    record["decode_only_tokens_per_s"] = {side: spread(values) for side, values in decode}
    return record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--side", nargs=2, action="append", required=True, metavar=("NAME", "COMMAND"))
    parser.add_argument("--log", type=pathlib.Path)
    parser.add_argument("--lock", type=pathlib.Path)
    args = parser.parse_args()
    facts = machine()
    sides = []
    try:
        for name, command in args.side:
            sides.append(Side(name, command))
        record = measure(args.name, sides, args.pairs, args.lock) | {"machine": facts}
    finally:
        for side in sides:
            side.close()
    line = json.dumps(record)
    print(line)
    if args.log:
        args.log.parent.mkdir(parents=True, exist_ok=True)
        with args.log.open("a") as log:
            log.write(line + "\n")


if __name__ == "__main__":
    main()
