"""Trackio's database on this machine (its folder: TRACKIO_DIR). `trackio sync` takes it to a Space or a server.

Each step once: a call takes steps whole or not at all, and a step's row has a name made of the run's and its number, of which the
database takes one.
"""

from __future__ import annotations

import datetime
import sqlite3
from typing import Mapping, Sequence

from trackio.sqlite_storage import SQLiteStorage  # its public log() forgets what it has sent when it is killed

from .follow import Unavailable
from .run_folder import Identity, Step


class Trackio:
    def __init__(self, project: str, name: str, identity: Identity, settings: Mapping[str, str]):
        self._project, self._name, self._identity, self._settings = project, name, identity, dict(settings)

    def open(self) -> int:
        return self._asked(lambda: SQLiteStorage.get_max_step_for_run(self._project, self._name, run_id=self._identity.id)) or 0

    def send(self, steps: Sequence[Step]) -> None:
        begin_s = self._identity.begin_s
        times = [datetime.datetime.fromtimestamp(begin_s + step.time_s, datetime.timezone.utc).isoformat() for step in steps]
        self._asked(lambda: SQLiteStorage.bulk_log(
            self._project, self._name, [step.metrics for step in steps], steps=[step.number for step in steps], timestamps=times,
            config=self._settings, log_ids=[f"{self._identity.id}-{step.number}" for step in steps], run_id=self._identity.id))

    def close(self, complete: bool) -> None:
        pass

    @staticmethod
    def _asked(question):
        try:
            return question()
        except (OSError, sqlite3.Error) as error:
            raise Unavailable(f"Trackio's database cannot be used: {error}") from None
