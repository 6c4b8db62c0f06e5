"""A folder for `wandb sync`, in RUN/trackers/wandb: nothing is sent anywhere until then.

Each step once: metrics.jsonl has all of a run, so whatever an earlier process left of the folder is dropped, and it is written anew,
under the same id.
"""

from __future__ import annotations

import os
import pathlib
import shutil
from typing import Any, Mapping, Sequence

os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # read when it is imported: else it tells its makers of its errors

import wandb  # noqa: E402

from .follow import Unavailable  # noqa: E402
from .run_folder import Identity, Step  # noqa: E402


class Wandb:
    def __init__(self, folder: pathlib.Path, project: str, name: str, identity: Identity, settings: Mapping[str, str]):
        self._folder, self._project, self._name = folder, project, name
        self._identity, self._settings = identity, dict(settings)
        self._run: Any = None

    def open(self) -> int:
        try:
            for left in (self._folder / "wandb").glob(f"offline-run-*-{self._identity.id}"):
                shutil.rmtree(left)
            self._run = wandb.init(
                mode="offline", dir=str(self._folder), project=self._project, name=self._name, id=self._identity.id, config=self._settings,
                settings=wandb.Settings(silent=True, console="off", disable_git=True, disable_code=True, x_disable_stats=True))
        except (OSError, wandb.Error) as error:
            raise Unavailable(f"{self._folder} cannot be written: {error}") from None
        return 0

    def send(self, steps: Sequence[Step]) -> None:
        try:
            for step in steps:
                self._run.log({**step.metrics, "_timestamp": self._identity.begin_s + step.time_s}, step=step.number)
        except (OSError, wandb.Error) as error:
            self.close(False)
            raise Unavailable(f"{self._folder} cannot be written: {error}") from None

    def close(self, complete: bool) -> None:
        if self._run is not None:
            self._run.finish()
            self._run = None
