#!/usr/bin/env python3
"""tactus-track against real trackers: an MLflow server, Trackio's database, a W&B folder. Each has every step of a run exactly once.

    python3 scripts/check/trackers.py [mlflow|trackio|wandb ...]

A run of 300 steps is written over some seconds, cut back once as a resumed run does. Meanwhile tactus-track is killed without
warning at random instants and started again, and the MLflow server is killed, stays away, and is frozen. Then it has to end by
itself, and what the tracker has is read by its own client: steps, values, one run. The packages are installed into .cache/trackers
(1 GB, so by night); where they cannot be had it says so and ends with 77.
"""

import argparse
import contextlib
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from base.local import ROOT, free_port, read_url, require, wait  # noqa: E402
from base.venv import with_packages  # noqa: E402

VENV = ROOT / ".cache/trackers"
PACKAGES = ["mlflow==3.17.2", "trackio==0.43.0", "wandb==0.31.0"]
READY_S, END_S, READ_S = 400, 500, 120
STEPS, CUT_AT, CUT_TO = 300, 200, 150
WRITE_S = 20.0  # for all steps
KILLS = 8
SEED = 13
MLFLOW_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}

# What each tracker has, as {step: [reward_mean, ...]}, and how many runs, by its own client; on standard output.
READERS = {
    "mlflow": """
import mlflow, sys
client = mlflow.MlflowClient(sys.argv[1])
runs = client.search_runs([client.get_experiment_by_name("check").experiment_id])
for m in client.get_metric_history(runs[0].info.run_id, "reward_mean"):
    has.setdefault(m.step, []).append(m.value)
note = [len(runs), runs[0].info.status, runs[0].data.params["learner.steps"], runs[0].info.run_name]
""",
    "trackio": """
from trackio.api import Api
from trackio.sqlite_storage import SQLiteStorage
runs = list(Api().runs("check"))
for row in SQLiteStorage.get_logs("check", runs[0].name, run_id=runs[0].id):
    has.setdefault(row["step"], []).append(row["reward_mean"])
note = [len(runs), "FINISHED", runs[0].config["learner.steps"], runs[0].name]
""",
    # A W&B folder is a log in LevelDB's format: blocks of 32 KiB, records of checksum, length and type, maybe in parts.
    "wandb": """
import glob, struct, sys
from wandb.proto import wandb_internal_pb2 as pb
folders = glob.glob(sys.argv[1] + "/trackers/wandb/wandb/offline-run-*")
(path,) = glob.glob(folders[0] + "/*.wandb")
data, at, parts, note = open(path, "rb").read(), 7, b"", [len(folders), "", "", ""]
while at < len(data):
    if 32768 - at % 32768 < 7:
        at += 32768 - at % 32768
        continue
    _, length, kind = struct.unpack("<IHB", data[at : at + 7])
    parts += data[at + 7 : at + 7 + length]
    at += 7 + length
    if kind in (1, 4):
        record, parts = pb.Record.FromString(parts), b""
        if record.HasField("history"):
            row = {(i.key or i.nested_key[0]): i.value_json for i in record.history.item}
            has.setdefault(int(row["_step"]), []).append(float(row["reward_mean"]))
        elif record.HasField("run"):
            note[2:] = [c.value_json.strip('"') for c in record.run.config.update if c.key == "learner.steps"] + [record.run.display_name]
        elif record.HasField("exit"):
            note[1] = "FINISHED"
""",
}


def value(step: int) -> float:
    return random.Random(step).random()


def line(step: int) -> str:
    more = {f"metric_{i}": step + i / 64 for i in range(60)}
    return json.dumps({"step": step, "version": f"0.{step}", "time_s": 0.5 * step, "reward_mean": value(step), **more}) + "\n"


class Run:
    """A run's folder that is written to, by a thread that knows nothing of trackers."""

    def __init__(self, folder: pathlib.Path):
        self.folder, self.metrics = folder, folder / "metrics.jsonl"
        folder.mkdir()
        (folder / "config.textproto").write_text(f"seed: 1\nlearner {{\n  steps: {STEPS}\n}}\n")
        self.thread = threading.Thread(target=self._write)

    def _write(self) -> None:
        for step in range(1, CUT_AT + 1):
            self._append(step)
        os.truncate(self.metrics, sum(len(line(step)) for step in range(1, CUT_TO + 1)))
        for step in range(CUT_TO + 1, STEPS + 1):
            self._append(step)

    def _append(self, step: int) -> None:
        with open(self.metrics, "a") as file:
            file.write(line(step))
        time.sleep(WRITE_S / STEPS)


@contextlib.contextmanager
def mlflow_server(folder: pathlib.Path, port: int) -> Iterator[subprocess.Popen]:
    command = [VENV / "bin/mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
               "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder)]  # fmt: skip
    with open(folder / "mlflow.log", "a") as log:
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                                   env=os.environ | MLFLOW_QUIET)  # fmt: skip
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def track(tracker: str, run: pathlib.Path, options: list[str]) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "python/tactus_track"), "TRACKIO_DIR": str(run.parent / "trackio")}
    with open(run.parent / "track.log", "a") as log:
        return subprocess.Popen([VENV / "bin/python", "-m", "tactus_track", run, tracker, *options], env=environment, cwd=run.parent,
                                stdin=subprocess.DEVNULL, stdout=log, stderr=log)  # fmt: skip


def ride(tracker: str, run: Run, options: list[str]) -> None:
    """Kills tactus-track again and again while the run is written, then lets it end."""
    draw = random.Random(SEED)
    run.thread.start()
    process = track(tracker, run.folder, options)
    kills = 0
    while kills < KILLS:
        time.sleep(draw.uniform(1.0, 2 * WRITE_S / KILLS))
        require(process.poll() is None, f"{tracker}: tactus-track runs")
        process.kill()
        process.wait()
        kills += 1
        process = track(tracker, run.folder, options)
    run.thread.join()
    try:
        require(process.wait(END_S) == 0, f"{tracker}: after {kills} kills tactus-track ends with 0")
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        sys.exit(f"{tracker}: tactus-track has not ended:\n{(run.folder.parent / 'track.log').read_text()[-3000:]}")


def judge(tracker: str, run: Run, where: str) -> None:
    """Every step once, with its number, in one run."""
    script = f"has, note = {{}}, []\n{READERS[tracker]}\nimport json\nprint('\\n' + json.dumps([has, note]))"
    done = subprocess.run([VENV / "bin/python", "-c", script, where], capture_output=True, text=True, timeout=READ_S, check=False,
                          env=os.environ | {"TRACKIO_DIR": str(run.folder.parent / "trackio")})  # fmt: skip
    require(done.returncode == 0, f"{tracker}: its own client reads it{done.stderr[-2000:] if done.returncode else ''}")
    has, note = json.loads(done.stdout.splitlines()[-1])
    twice = {step: values for step, values in has.items() if len(values) > 1}
    require(not twice, f"{tracker}: no step twice{f', and {len(twice)} are' if twice else ''}")
    wanted = {str(step): [value(step)] for step in range(1, STEPS + 1)}
    require(has == wanted, f"{tracker}: {len(has)} of {STEPS} steps, with their numbers")
    require(note == [1, "FINISHED", str(STEPS), "run"], f"{tracker}: one run, ended, with its settings and name: {note}")


def check_mlflow(run: Run) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    up = lambda: wait(lambda: read_url(f"{url}/health")[0] == 200, READY_S)  # noqa: E731
    faults = []

    def trouble() -> None:
        """The server is frozen, then killed; away; back."""
        time.sleep(WRITE_S / 4)
        os.killpg(faults[0].pid, signal.SIGSTOP)
        time.sleep(3)
        os.killpg(faults[0].pid, signal.SIGCONT)
        time.sleep(WRITE_S / 6)
        os.killpg(faults[0].pid, signal.SIGKILL)
        time.sleep(4)

    with contextlib.ExitStack() as stack:
        faults.append(stack.enter_context(mlflow_server(run.folder.parent, port)))
        require(up(), "mlflow: a server answers")
        thread = threading.Thread(target=lambda: (trouble(), stack.enter_context(mlflow_server(run.folder.parent, port))))
        thread.start()
        ride("mlflow", run, ["--server", url, "--experiment", "check"])
        thread.join()
        waited = (run.folder.parent / "track.log").read_text().count("asking again")
        require(waited, f"mlflow: the server was missed, {waited} times")
        judge("mlflow", run, url)


def check_local(tracker: str, run: Run) -> None:
    ride(tracker, run, ["--project", "check"])
    judge(tracker, run, str(run.folder))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trackers", nargs="*", choices=[[], *READERS], metavar="TRACKER")
    args = parser.parse_args()
    with_packages(VENV.name, PACKAGES)
    for tracker in args.trackers or READERS:
        with tempfile.TemporaryDirectory() as name:
            run = Run(pathlib.Path(name, "run"))
            if tracker == "mlflow":
                check_mlflow(run)
            else:
                check_local(tracker, run)


if __name__ == "__main__":
    main()
