"""What a run's folder tells: its steps as they come, its settings, and an identity that a tracker knows it by."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import logging
import math
import os
import pathlib
import re
import time
import uuid
from typing import BinaryIO

log = logging.getLogger("tactus_track")

MAX_LINE_BYTES = 16 << 20  # as Tactus' own readers of the file
FIELD = re.compile(r"^\s*(\w+)(?:\s*\{|:\s*(.*?))\s*$")


@dataclasses.dataclass(frozen=True)
class Step:
    number: int  # 1 for the first
    time_s: float  # since the start of the run, over resumes
    metrics: dict[str, float]  # finite numbers


def _numbers(record: object) -> dict[str, float]:
    """The finite numbers of a record; none of what is no record."""
    values = record.items() if isinstance(record, dict) else ()
    numbers = {key: float(value) for key, value in values if isinstance(value, (int, float)) and not isinstance(value, bool)}
    return {key: value for key, value in numbers.items() if math.isfinite(value)}


class Steps:
    """Follows metrics.jsonl, which a run appends to. A resumed run cuts it, in place or by another file, and writes some steps again;
    whoever has them already asks for later ones alone. Not thread-safe."""

    def __init__(self, path: pathlib.Path):
        self._path = path
        self.rewind()

    def rewind(self) -> None:
        """To the first step."""
        self._offset, self._last, self._line = 0, b"", 0

    def after(self, step: int, at_most: int) -> list[Step]:
        """The next steps beyond this one that are written whole; none: wait. A damaged line costs itself and a warning."""
        found: list[Step] = []
        try:
            file = open(self._path, "rb")
        except FileNotFoundError:
            return []
        with file:
            # Cut and grown again, it may be longer than it was: what tells is the line that was read last.
            file.seek(self._offset - len(self._last))
            if file.read(len(self._last)) != self._last:
                self.rewind()
            file.seek(self._offset)
            while len(found) < at_most and self._next_line(file):
                one = self._parsed(self._last)
                if one is not None and one.number > step:
                    found.append(one)
        return found

    def _next_line(self, file: BinaryIO) -> bool:
        line = file.readline(MAX_LINE_BYTES)
        if not line.endswith(b"\n") and len(line) < MAX_LINE_BYTES:
            return False
        self._offset, self._last, self._line = self._offset + len(line), line, self._line + 1
        return True

    def _parsed(self, line: bytes) -> Step | None:
        try:
            record = json.loads(line)
            number, time_s = record["step"], record.get("time_s", 0.0)
            if not isinstance(number, int) or not isinstance(time_s, (int, float)):
                raise TypeError("step and time_s: expected numbers")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            if line.strip():
                log.warning("%s:%d is damaged and left out: %s", self._path, self._line, error)
            return None
        numbers = {key: value for key, value in _numbers(record).items() if key != "step"}
        sources = record.get("sources")
        for name, source in sources.items() if isinstance(sources, dict) else ():
            numbers |= {f"source_{name}/{key}": value for key, value in _numbers(source).items()}
        return Step(number, float(time_s), numbers)


def settings(config: pathlib.Path) -> dict[str, str]:
    """The values of a run's config.textproto, one a line there, by their paths: "rollout.top_p". No file: none."""
    found: dict[str, str] = {}
    path: list[str] = []
    seen: dict[str, int] = {}
    try:
        lines = config.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    for line in lines:
        if line.strip() == "}":
            path = path[:-1]
        elif match := FIELD.match(line):
            name = ".".join([*path, match[1]])
            seen[name] = seen.get(name, 0) + 1
            name += f".{seen[name]}" if seen[name] > 1 else ""  # of a repeated field all but the first have a number
            if match[2] is None:
                path = name.split(".") if not path else [*path, name[len(".".join(path)) + 1 :]]
            else:
                found[name] = match[2][1:-1] if match[2][:1] == match[2][-1:] == '"' else match[2]
    return found


def last_step(config: pathlib.Path) -> int | None:
    """The step the run ends with, by its configuration; None: not known yet."""
    try:
        return int(settings(config)["learner.steps"])
    except (KeyError, ValueError):
        return None


@dataclasses.dataclass(frozen=True)
class Identity:
    """The run's name for trackers, by which they find what they have of it; and when it began, by this machine's clock."""

    id: str
    begin_s: float


class Note:
    """RUN/trackers/TRACKER: the identity, made once, and a lock, so that one process alone sends to one tracker."""

    def __init__(self, run: pathlib.Path, tracker: str):
        self.folder = run / "trackers" / tracker
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = open(self.folder / "lock", "w")
        try:
            self.identity = self._locked(run)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._lock.close()

    def _locked(self, run: pathlib.Path) -> Identity:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BlockingIOError(f"{self.folder} is in use: another tactus-track sends this run there") from None
        return self._kept() or self._made(run)

    def _kept(self) -> Identity | None:
        path = self.folder / "identity.json"
        try:
            kept = json.loads(path.read_text())
            return Identity(str(kept["id"]), float(kept["begin_s"]))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f'{path}: {error!r}; expected {{"id": …, "begin_s": …}}') from None

    def _made(self, run: pathlib.Path) -> Identity:
        """Durable before any tracker hears of it: a run that is found twice would be sent twice."""
        config = run / "config.textproto"
        made = Identity(uuid.uuid4().hex, config.stat().st_mtime if config.exists() else time.time())
        aside = self.folder / "identity.json.tmp"
        with open(aside, "w") as file:
            json.dump(dataclasses.asdict(made), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, self.folder / "identity.json")
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return made
