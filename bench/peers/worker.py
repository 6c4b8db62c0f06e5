"""What every side of a comparison has in common.

A worker loads its model, prints {"ready": {...what it is}} and then does one measured run for each line "run" on standard
input, answering each with one JSON line {"seconds", "tokens", ...}. compare.py calls two of them in turn. The C++ workers
of bench/ speak the same.

Both sides get the same workload file (workload.py): {"prompts": [[ids]], "completions": [[ids]], "new_tokens"}.
"""

import json
import os
import resource
import sys
import time


def serve(ready: dict, run) -> None:
    """run() does one whole job and gives a dict with at least `tokens`; its time is taken here."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not mix with the answers

    def answer(record: dict) -> None:
        answers.write(json.dumps(record) + "\n")
        answers.flush()

    answer({"ready": ready})
    for line in sys.stdin:
        if line.strip() != "run":
            raise SystemExit(f"unknown request {line.strip()!r}, expected 'run'")
        start = time.perf_counter()
        record = run()
        record.setdefault("seconds", time.perf_counter() - start)
        record["peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        answer(record)


def load_workload(path: str) -> dict:
    with open(path) as f:
        return json.load(f)
