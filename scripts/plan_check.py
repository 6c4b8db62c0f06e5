#!/usr/bin/env python3
"""Holds `tactus plan --measure` against runs, and measures how a run scales over Gloo ranks on pinned cores.

    sudo python3 scripts/plan_check.py --config F [--bin build/release/bin] [--ranks 1,2] [--actors 1] [--steps 12] [--rounds 3] [--set FIELD=VALUE ...]

A round is, for each number of ranks: a run of --steps steps in a network namespace of its own, then a plan with the run's own lengths, so that both
see the same machine. Rank r is pinned to core r, and actor a of R ranks to core R + a, modulo the cores there are; with more than one process a core it
says "oversubscribed".
Prints a JSON line for each: seconds a step, of the means of steps but for the first two; bytes a step that went over loopback, less what a run of two steps
takes; tokens a second that the learner trains while it does not wait; seconds a checkpoint keeps the training waiting, and its bytes; and what was predicted.
"""

import argparse
import contextlib
import json
import os
import pathlib
import subprocess
import tempfile
import time

BLOCKED = "phase_checkpoint_s"


def children(pid: int) -> list[tuple[int, list[str]]]:
    """The processes that `pid` started, with their arguments."""
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid:
                found.append((int(folder.name), (folder / "cmdline").read_text().split("\0")))
        except (OSError, IndexError):
            continue
    return found


def pin(pid: int, ranks: int, pinned: set[int]) -> None:
    """Each rank and actor that `pid` has started by now, to a core: the actors' are those that the ranks leave, as long as there are any."""
    cores = sorted(os.sched_getaffinity(0))
    for child, arguments in children(pid):
        program = os.path.basename(arguments[0])
        if child in pinned or program not in ("tactus-learner", "tactus-actor"):
            continue
        flag = "--rank" if program == "tactus-learner" else "--instance"
        number = int(arguments[arguments.index(flag) + 1].rpartition("-")[2]) + (0 if program == "tactus-learner" else ranks)
        for task in pathlib.Path(f"/proc/{child}/task").glob("*"):
            with contextlib.suppress(ProcessLookupError):  # a thread that has ended since it was listed
                os.sched_setaffinity(int(task.name), {cores[number % len(cores)]})
        pinned.add(child)


class Runs:
    def __init__(self, args: argparse.Namespace, folder: pathlib.Path):
        self.args, self.folder, self.count = args, folder, 0
        self.namespace = f"tactus-plan-{os.getpid()}"

    def __enter__(self) -> "Runs":
        subprocess.run(["ip", "netns", "add", self.namespace], check=True)
        subprocess.run(["ip", "-n", self.namespace, "link", "set", "lo", "up"], check=True)
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["ip", "netns", "del", self.namespace], check=False)

    def sets(self, steps: int) -> list[str]:
        fields = [f"learner.steps={steps}", "eval.max_prompts=0", "learner.threads=1", "actor.threads=1", *self.args.set]
        return [part for field in fields for part in ("--set", field)]

    def sent(self) -> int:
        """Bytes over loopback in the namespace so far."""
        text = subprocess.run(["ip", "netns", "exec", self.namespace, "cat", "/proc/net/dev"], capture_output=True, text=True, check=True).stdout
        (line,) = [line for line in text.splitlines() if line.strip().startswith("lo:")]
        return int(line.split(":")[1].split()[8])

    def train(self, ranks: int, steps: int) -> tuple[pathlib.Path, int]:
        """The run's folder, and what it sent."""
        self.count += 1
        out, before, pinned = self.folder / f"run-{self.count}", self.sent(), set()
        command = ["ip", "netns", "exec", self.namespace, f"{self.args.bin}/tactus", "train", "--config", self.args.config, "--out", str(out),
                   "--learners", str(ranks), "--actors", str(self.args.actors), *self.sets(steps)]  # fmt: skip
        with (self.folder / f"log-{self.count}").open("w") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
            try:
                while process.poll() is None:
                    pin(process.pid, ranks, pinned)
                    time.sleep(0.1)
            finally:
                if process.poll() is None:
                    process.terminate()  # it ends those that it started
                    process.wait(timeout=120)
        if process.returncode:
            raise SystemExit((self.folder / f"log-{self.count}").read_text())
        return out, self.sent() - before

    def plan(self, ranks: int, run: pathlib.Path) -> dict[str, float]:
        command = [f"{self.args.bin}/tactus", "plan", "--config", self.args.config, "--cores", str(len(os.sched_getaffinity(0))), "--learners", str(ranks),
                   "--actors", str(self.args.actors), "--run", str(run), "--measure", "--scratch", str(self.folder), "--json",
                   *self.sets(self.args.steps)]  # fmt: skip
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return {number["key"]: number["value"] for number in json.loads(text)["predicted"]}


def measured(run: pathlib.Path, sent: int, base: int) -> dict[str, float]:
    steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    used = steps[2:]

    def mean(key: str) -> float:
        return sum(step[key] for step in used) / len(used)

    # Without checkpoints, whose seconds stand apart.
    busy = [step["step_time_s"] - step["phase_wait_s"] - step[BLOCKED] for step in used]
    blocked = [step[BLOCKED] for step in steps if step[BLOCKED] > 0]
    checkpoint = max((run / "checkpoints").glob("step-*"))
    return {
        "step_s": mean("step_time_s"),
        "passes_s": mean("phase_forward_s") + mean("phase_backward_s"),
        "exchange_s": mean("phase_allreduce_s"),
        "optimizer_s": mean("phase_optimizer_s"),
        "trained_per_busy_s": sum(step["completion_tokens"] + step["prompt_tokens"] for step in used) / sum(busy),
        "sent_bytes": (sent - base) / len(used),
        "checkpoint_blocks_s": sum(blocked) / max(1, len(blocked)),
        "checkpoint_bytes": sum(file.stat().st_size for file in checkpoint.rglob("*") if file.is_file()),
        "answer_tokens": mean("completion_tokens_mean"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True)
    parser.add_argument("--bin", default="build/release/bin")
    parser.add_argument("--ranks", default="1,2")
    parser.add_argument("--actors", type=int, default=1)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[])
    args = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder, Runs(args, pathlib.Path(folder)) as runs:
        base = {}
        for _ in range(args.rounds):
            for ranks in map(int, args.ranks.split(",")):
                if ranks not in base:
                    base[ranks] = runs.train(ranks, 2)[1]
                run, sent = runs.train(ranks, args.steps)
                was, plan = measured(run, sent, base[ranks]), runs.plan(ranks, run)
                predicted = {key: plan[key] for key in ("step_s", "sampling_s", "training_s", "exchange_s", "optimizer_s", "checkpoint_blocks_s",
                                                        "checkpoint_write_s", "checkpoint_bytes")}  # fmt: skip
                predicted["sent_bytes"] = plan["exchange_bytes"] + plan["weight_bytes"] + plan["group_bytes"]
                print(json.dumps({"ranks": ranks, "actors": args.actors, "oversubscribed": ranks + args.actors > cores, "load": os.getloadavg()[0],
                                  "measured": was, "predicted": predicted, "step_ratio": predicted["step_s"] / was["step_s"]}), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
