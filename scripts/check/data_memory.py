#!/usr/bin/env python3
"""Memory and time of reading 5 million rows, as Parquet and as JSON lines.

    python3 scripts/check/data_memory.py [--build build/release] [--rows N] [--limit-mib M]

Makes a question and a worked answer of 300 bytes a row, in the same rows by both formats (row groups of 1 million rows, pyarrow's
default, in two files), and lets `tactus check-config` read them as a learner does: it maps the fields, compares with the held-out rows, takes the
fingerprint and encodes the questions of the first step. Prints what each took and the data's size; the exit code is 1 when a peak
is above the limit. Needs 4 GB of disk in $TMPDIR and the pyarrow of .venv, else it ends with 77.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from base.local import ROOT, skip  # noqa: E402

PYTHON = ROOT / ".venv/bin/python"
BATCH_ROWS = 100_000
RUN_S = 1800


def make(folder: pathlib.Path, rows: int) -> None:
    """Runs under .venv's Python."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("question", pa.string()), ("answer", pa.string())])
    for name in ("parquet", "jsonl"):
        (folder / name).mkdir()
    with (folder / "jsonl/train.jsonl").open("w") as lines:
        for shard in range(2):
            with pq.ParquetWriter(folder / f"parquet/train-{shard}.parquet", schema) as writer:
                group: list[pa.RecordBatch] = []
                for first in range(shard * rows // 2, (shard + 1) * rows // 2, BATCH_ROWS):
                    numbers = range(first, min(first + BATCH_ROWS, (shard + 1) * rows // 2))
                    questions = [f"{n} 5 6=36:" for n in numbers]
                    answers = [f"{n} " + f"so that {n * 7919 % 10_007} of {n} are left, " * 7 + "#### 36" for n in numbers]
                    group.append(pa.record_batch([questions, answers], schema=schema))
                    if len(group) * BATCH_ROWS >= 1 << 20 or numbers.stop == (shard + 1) * rows // 2:
                        writer.write_table(pa.Table.from_batches(group), row_group_size=1 << 20)
                        group = []
                    lines.writelines(json.dumps({"question": q, "answer": a}) + "\n" for q, a in zip(questions, answers, strict=True))


def measure(tactus: pathlib.Path, folder: pathlib.Path, name: str) -> tuple[float, float]:
    """Peak of resident memory in MiB, and seconds."""
    sets = ["task.name=qa", "task.prompt_style=compact", f"task.train_path={folder / name}", f"task.test_path={folder / 'test.jsonl'}",
            "learner.steps=1", "eval.max_prompts=0", "rollout.max_prompt_tokens=32"]  # fmt: skip
    command = [tactus, "check-config", "configs/quickstart.textproto", *(part for one in sets for part in ("--set", one))]
    start = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"tactus check-config ended with {process.returncode} on {name}")
    return usage.ru_maxrss / 1024, time.monotonic() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--limit-mib", type=float, default=300)
    parser.add_argument("--make", type=pathlib.Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.make:
        make(arguments.make, arguments.rows)
        return
    if subprocess.run([PYTHON, "-c", "import pyarrow"], check=False, capture_output=True, timeout=60).returncode != 0:
        skip("no pyarrow in .venv: scripts/setup.sh adds it")
    with tempfile.TemporaryDirectory(prefix="tactus-data-") as name:
        folder = pathlib.Path(name)
        subprocess.run([PYTHON, __file__, "--rows", str(arguments.rows), "--make", folder], check=True, timeout=RUN_S)
        (folder / "test.jsonl").write_text('{"question": "9 9 9=1:", "answer": 1}\n')
        above = False
        for form in ("parquet", "jsonl"):
            size_mb = sum(path.stat().st_size for path in (folder / form).iterdir()) / 1e6
            peak_mib, seconds = measure(arguments.build / "bin/tactus", folder, form)
            above |= peak_mib > arguments.limit_mib
            print(f"{form}: {arguments.rows} rows, {size_mb:.0f} MB: peak {peak_mib:.0f} MiB, {seconds:.0f} s", flush=True)
    sys.exit(1 if above else 0)


if __name__ == "__main__":
    main()
