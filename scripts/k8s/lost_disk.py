#!/usr/bin/env python3
"""A run on pods whose model comes from an object store and whose node is lost, with its claim.

    python3 scripts/k8s/lost_disk.py [--build build/release]

The pods of k8s/overlays/kind-cpu as processes (run_local.py), an S3 server (SeaweedFS) with the model in it, and nothing on the disk:
the run begins, uploads its checkpoints, and all of its pods are killed; the claim and the caches are deleted. New pods
with the same objects go on from the newest complete upload, to the end, and the last checkpoint is in the store. Ends with 77 where there
is no `weed`. Says how long each part took.
"""

import argparse
import json
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from base.local import ROOT  # noqa: E402
from base.object_store import CREDENTIALS, Store, find_weed  # noqa: E402
from k8s.run_local import MORE_STEPS, Runner  # noqa: E402

RUN = "tactus/runs/mine"
UPLOADED = 2  # checkpoints, before the node is lost


class OnStores(Runner):
    def __init__(self, binaries: pathlib.Path, scratch: pathlib.Path, store: Store) -> None:
        super().__init__("kind-cpu", binaries, scratch)
        self.store, self.begun = store, time.monotonic()

    def call(self, *args: object) -> dict:
        """As the chart's value stores.enabled: keys and a cache in the environment."""
        call = super().call(*args)
        call["env"] |= CREDENTIALS | {"TACTUS_CACHE": str(self.scratch / "cache"), "NO_PROXY": "*"}
        call["args"] += [f"--set=model.path=s3://tactus/models/quickstart?{self.store.query}", "--set=checkpoint.every_steps=2",
                         f"--set=checkpoint.upload=s3://{RUN}?{self.store.query}"]  # fmt: skip
        return call

    def took(self) -> str:
        return f"{time.monotonic() - self.begun:.0f} s"

    def play(self) -> None:
        learner, actor = self.manifests.learners()[0], self.manifests.actors()[0]
        self.actors = [self.start(actor, "tactus-actor-0")]
        rank = self.start(learner, "tactus-learner-0")
        self.within(lambda: len(self.store.complete_steps(RUN)) >= UPLOADED or rank.popen.poll() is not None,
                    "a run from an empty claim uploads its checkpoints")  # fmt: skip
        print(f"       ... after {self.took()}")
        for process in self.processes:
            process.popen.kill()
            process.popen.wait()
        self.actors = []
        newest = self.store.complete_steps(RUN)[-1]
        shutil.rmtree(self.scratch / "cache")
        shutil.rmtree(self.scratch / "run")
        (self.scratch / "run").mkdir()
        self.goal, self.begun = newest + MORE_STEPS, time.monotonic()
        self.actors = [self.start(actor, "tactus-actor-1")]
        rank = self.start(learner, "tactus-learner-0")
        self.within(lambda: self.steps() > newest or rank.popen.poll() is not None, f"on an empty claim it goes on behind step {newest}")
        print(f"       ... after {self.took()}")
        self.within(lambda: rank.popen.poll() is not None, "the run ends")
        self.expect(rank.popen.poll() == 0, f"... with 0 ({rank.popen.poll()})")
        steps = [json.loads(line)["step"] for line in (self.scratch / "run/metrics.jsonl").read_text().splitlines()]
        self.expect(steps == list(range(1, self.goal + 1)), f"each of its {self.goal} steps stands once in metrics.jsonl")
        self.expect(self.store.complete_steps(RUN)[-1:] == [self.goal], "the last checkpoint is in the store")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release", help="build folder")
    binaries = parser.parse_args().build.resolve() / "bin"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # whoever ends the script ends its processes
    with tempfile.TemporaryDirectory(prefix="tactus-lost-", ignore_cleanup_errors=True) as name:
        scratch = pathlib.Path(name)
        store = Store(find_weed(), scratch / "store")
        runner = OnStores(binaries, scratch, store)
        try:
            store.take_folder("tactus/models/quickstart", ROOT / "models/quickstart")
            runner.play()
        except subprocess.TimeoutExpired as error:
            runner.expect(False, str(error))
        finally:
            runner.finish()
            store.close()
    return 1 if runner.failures else 0


if __name__ == "__main__":
    sys.exit(main())
