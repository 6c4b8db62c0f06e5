#!/usr/bin/env python3
"""Models, data and checkpoints that are elsewhere: a real S3 server, a hub over HTTPS, runs that lose their machine.

    python3 scripts/check/storage.py [--build DIR] [--kills N] [--seed S]      default: 3 kills; 20 by night

An object store (SeaweedFS, from .venv: scripts/setup.sh --lint) and a server with the hub's paths, which breaks off the first
download of each file, run on this machine. Then:

1. A run takes its model from s3://, its prompts from hf://datasets/... and uploads its checkpoints. Its processes are killed at
   random moments, and each time its folder and the cache are deleted, as when a machine is lost: `tactus train --resume s3://...`
   goes on from the newest complete upload, and no later than that. At the end the weights are bit for bit those of an undisturbed
   run with everything on the disk, each step stands once in metrics.jsonl with its numbers, and the store holds the newest
   checkpoints and no more.
2. The store's process stands still while a run trains: the run goes on, and what was missed is uploaded when it is back.

Ends with 77 where there is no `weed`.
"""

import argparse
import hashlib
import http.server
import json
import os
import pathlib
import random
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from base.local import ROOT, Expectations, require, wait  # noqa: E402
from base.object_store import CREDENTIALS, Store, find_weed  # noqa: E402

STEPS = 20  # at least; a few more for each kill
READY_S, RUN_S, STORE_BACK_S = 90, 400, 120
KEEP = 2
SETTINGS = ["rollout.prompts_per_step=6", "rollout.completions_per_prompt=4", "learner.threads=1",
            "checkpoint.every_steps=1", f"checkpoint.keep={KEEP}", "task.test_size=32"]  # fmt: skip


class Hub(http.server.BaseHTTPRequestHandler):
    """A dataset repository; the first download of each file breaks off in its middle."""

    files: dict[str, bytes] = {}
    begun: set[str] = set()
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path.startswith("/api/datasets/org/puzzles/revision/v1"):
            siblings = [{"rfilename": name, "size": len(content), "blobId": hashlib.sha1(content).hexdigest(),
                         "lfs": {"sha256": hashlib.sha256(content).hexdigest()}} for name, content in self.files.items()]  # fmt: skip
            self.answer(json.dumps({"sha": "0a1b2c", "siblings": siblings}).encode())
            return
        name = self.path.removeprefix("/datasets/org/puzzles/resolve/0a1b2c/")
        if name not in self.files:
            self.send_error(404)
            return
        content, first = self.files[name], 0
        if (wanted := self.headers.get("Range")) is not None:
            first = int(wanted.removeprefix("bytes=").rstrip("-"))
        cut = name not in self.begun
        self.begun.add(name)
        self.answer(content[first:], 206 if first else 200, cut)

    def answer(self, content: bytes, status: int = 200, cut: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self.close_connection = True


def serve_hub(folder: pathlib.Path) -> str:
    """Starts it; its address. The certificate is ca.pem."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
                    "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", folder / "key.pem", "-out", folder / "ca.pem"],
                   check=True, capture_output=True, timeout=60)  # fmt: skip
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ca.pem", folder / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"https://127.0.0.1:{server.server_port}"


class Runs:
    """Starts runs of one shape."""

    def __init__(self, build: pathlib.Path, folder: pathlib.Path, environment: dict[str, str]) -> None:
        self.tactus, self.folder, self.environment = str(build / "bin/tactus"), folder, environment

    def start(self, name: str, args: list[str], settings: list[str] = ()) -> subprocess.Popen:
        log = (self.folder / f"{name}.log").open("a")
        flags = [flag for setting in settings for flag in ("--set", setting)]
        return subprocess.Popen([self.tactus, "train", *args, *flags], stdout=log, stderr=subprocess.STDOUT, cwd=ROOT,
                                start_new_session=True, env=self.environment)  # fmt: skip

    def new(self, name: str, settings: list[str]) -> subprocess.Popen:
        config = str(ROOT / "configs/quickstart.textproto")
        return self.start(name, ["--config", config, "--out", str(self.folder / name)], [f"learner.steps={STEPS}", *SETTINGS, *settings])

    def tail(self, name: str) -> str:
        return "\n".join((self.folder / f"{name}.log").read_text(errors="replace").splitlines()[-15:])


def kill_all(process: subprocess.Popen) -> None:
    """The launcher and all that it started, at once."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def weights_of(run: pathlib.Path) -> str:
    path = run / f"checkpoints/step-{STEPS:06}/model/model.safetensors"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else f"no {path}"


def steps_of(run: pathlib.Path) -> list[dict]:
    """The records of metrics.jsonl without what depends on time."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in record.items() if k in ("step", "reward_mean", "loss", "grad_norm", "completion_tokens_mean")} for record in records]


def lose_machines(runs: Runs, store: Store, reference: pathlib.Path, inputs: list[str], kills: int, dice: random.Random) -> list[str]:
    checks = Expectations()
    uri = f"s3://tactus/runs/lost?{store.query}"
    settings = [*inputs, f"checkpoint.upload={uri}"]
    run, cache, killed, resumed_from = runs.folder / "lost", pathlib.Path(runs.environment["TACTUS_CACHE"]), 0, []
    process = runs.new("lost", settings)
    while killed < kills:
        # Most kills hit a run that has uploaded something since the last, at whatever it does then; some come before that.
        seen = store.complete_steps("tactus/runs/lost")[-1:]
        if dice.random() < 0.8:
            wait(lambda seen=seen: store.complete_steps("tactus/runs/lost")[-1:] != seen or process.poll() is not None, READY_S)
        time.sleep(dice.uniform(0, 2.0))
        if process.poll() is not None:
            break
        kill_all(process)
        killed += 1
        whole = store.complete_steps("tactus/runs/lost")
        shutil.rmtree(run, ignore_errors=True)
        shutil.rmtree(cache, ignore_errors=True)
        if not whole:
            process = runs.new("lost", settings)
            continue
        log_from = (runs.folder / "lost.log").stat().st_size
        process = runs.start("lost", ["--resume", uri, "--out", str(run)])
        resumed = wait(lambda: list(run.glob("checkpoints/step-*")) or process.poll() is not None, READY_S)
        steps = sorted(int(p.name.removeprefix("step-")) for p in run.glob("checkpoints/step-*"))
        resumed_from.append((whole[-1], steps[0] if steps else None))
        if not resumed or not steps:
            print((runs.folder / "lost.log").read_text()[log_from:])
            break
    checks.expect(process.wait(RUN_S) == 0, f"a run that lost its machine {killed} times ends well (resumed from {resumed_from})")
    if checks.failures:
        print(runs.tail("lost"))
    checks.expect(all(newest == first for newest, first in resumed_from), "each resume began at the newest complete upload")
    checks.expect(weights_of(run) == weights_of(reference), "its weights are those of the undisturbed run, bit for bit")
    checks.expect(steps_of(run) == steps_of(reference), "each step stands once in metrics.jsonl, with the undisturbed run's numbers")
    kept = store.complete_steps("tactus/runs/lost")  # those between two uploads may be passed over
    checks.expect(len(kept) == KEEP and kept[-1] == STEPS, f"the store holds the newest checkpoints: {kept}")
    stored = {path.split("/")[4] for path in store.files_below("tactus/runs/lost/checkpoints") if "/step-" in path}
    checks.expect(stored == {f"step-{step:06}" for step in kept}, f"and nothing of others: {sorted(stored)}")
    again = runs.start("again", ["--config", str(ROOT / "configs/quickstart.textproto"), "--out", str(runs.folder / "again")], settings)
    checks.expect(again.wait(READY_S) != 0 and "already holds a run" in runs.tail("again"), "another run is refused that place")
    return checks.failures


def freeze_store(runs: Runs, store: Store, inputs: list[str]) -> list[str]:
    checks = Expectations()
    name = "frozen"
    process = runs.new(name, [*inputs, f"checkpoint.upload=s3://tactus/runs/frozen?{store.query}"])
    metrics = runs.folder / name / "metrics.jsonl"
    require(wait(lambda: store.complete_steps("tactus/runs/frozen"), READY_S), "the first checkpoint is uploaded")
    os.killpg(store.process.pid, signal.SIGSTOP)
    done = wait(lambda: metrics.exists() and len(metrics.read_text().splitlines()) >= STEPS, RUN_S)
    os.killpg(store.process.pid, signal.SIGCONT)
    checks.expect(done, "the training goes on to its end while the store stands still")
    checks.expect(process.wait(STORE_BACK_S) == 0, "the run ends well when the store is back")
    checks.expect(STEPS in store.complete_steps("tactus/runs/frozen"), "with its last checkpoint uploaded")
    if checks.failures:
        print(runs.tail(name))
    return checks.failures


def puzzles() -> dict[str, bytes]:
    """Two files of prompts in the quick start's shape, and one of held-out ones."""
    dice = random.Random(5)
    rows = [json.dumps({"nums": sorted(dice.sample(range(1, 13), 3)), "target": t % 100 + 1}) for t in range(400)]
    unique = sorted(set(rows))
    dice.shuffle(unique)
    return {"data/train-0.jsonl": "\n".join(unique[:150]).encode(), "data/train-1.jsonl": "\n".join(unique[150:300]).encode(),
            "data/test.jsonl": "\n".join(unique[300:]).encode(), "README.md": b"puzzles"}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=11)
    args = parser.parse_args()
    global STEPS
    STEPS = max(STEPS, 6 * args.kills)
    weed = find_weed()
    with tempfile.TemporaryDirectory(prefix="tactus_storage_", ignore_cleanup_errors=True) as name:
        folder = pathlib.Path(name)
        hub = serve_hub(folder)
        Hub.files = puzzles()
        environment = os.environ | CREDENTIALS | {"HF_ENDPOINT": hub, "SSL_CERT_FILE": str(folder / "ca.pem"), "NO_PROXY": "*", "no_proxy": "*",
                                                  "TACTUS_CACHE": str(folder / "cache")}  # fmt: skip
        store = Store(weed, folder / "store")
        try:
            store.take_folder("tactus/models/quickstart", ROOT / "models/quickstart")
            local = folder / "data"
            local.mkdir()
            for file, content in Hub.files.items():
                (local / file.split("/")[-1]).write_bytes(content)
            runs = Runs(args.build.resolve(), folder, environment)
            data = [f"task.train_path={local}/train-*.jsonl", f"task.test_path={local}/test.jsonl"]
            undisturbed = runs.new("reference", [*data, f"model.path={ROOT}/models/quickstart"])
            require(undisturbed.wait(RUN_S) == 0, "an undisturbed run with everything on the disk")
            inputs = ["task.train_path=hf://datasets/org/puzzles@v1/data/train-*.jsonl", "task.test_path=hf://datasets/org/puzzles@v1/data/test.jsonl",
                      f"model.path=s3://tactus/models/quickstart?{store.query}"]  # fmt: skip
            failures = lose_machines(runs, store, folder / "reference", inputs, args.kills, random.Random(args.seed))
            failures += freeze_store(runs, store, inputs)
        finally:
            store.close()
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
