"""The loop: what a run has written and a tracker has not, in order, until the run's last step."""

from __future__ import annotations

import logging
import pathlib
import threading
from typing import Protocol, Sequence

from .run_folder import Step, Steps, last_step

log = logging.getLogger("tactus_track")

AT_ONCE = 50  # steps read ahead
LOOK_S = 1.0  # between looks at the file; the first pause after a failure, which doubles
MOST_PAUSE_S = 30.0


class Unavailable(Exception):
    """The tracker did not take it, now: asked again later. Says which, and why, in a sentence."""


class Refused(Exception):
    """The tracker will never take it as it is: a user's mistake. Says which, and what was expected, in a sentence."""


class Tracker(Protocol):
    """Where steps go. Methods block for a bounded time and raise Unavailable or Refused; after either, open() is next.
    One thread."""

    def open(self) -> int:
        """Finds or makes the run there; the last step it has, by its own account; 0: none."""

    def send(self, steps: Sequence[Step]) -> None:
        """The steps after the last one it has, in order. When it returns, they are there to stay."""

    def close(self, complete: bool) -> None:
        """No more comes; `complete`: as the run has ended."""


class Follower:
    def __init__(self, run: pathlib.Path, tracker: Tracker, end: threading.Event, look_s: float = LOOK_S):
        self._run, self._tracker, self._end, self._look_s = run, tracker, end, look_s
        self._steps = Steps(run / "metrics.jsonl")
        self._sent: int | None = None  # None: the tracker has to be asked
        self._opened = False

    def run(self, once: bool) -> bool:
        """Until the run's last step is sent, or what there is with `once`, or `end`. Whether the tracker has all that is
        written. Refused only when the tracker has never answered otherwise; Unavailable with `once` alone."""
        pause_s = self._look_s
        while not self._end.is_set():
            try:
                idle = self._go_on()
            except (Unavailable, Refused) as error:
                if once or isinstance(error, Refused) and not self._opened:
                    raise
                log.warning("%s; asking again in %g s", error, pause_s)
                self._sent = None
                self._end.wait(pause_s)
                pause_s = min(2 * pause_s, MOST_PAUSE_S)
                continue
            pause_s = self._look_s
            if idle and (once or self._complete()):
                break
            if idle:
                self._end.wait(self._look_s)
        return self._finish()

    def _go_on(self) -> bool:
        """Sends some steps; true: there are no more."""
        if self._sent is None:
            self._sent = self._tracker.open()
            self._opened = True
            self._steps.rewind()
            log.info("it has %s", f"the steps up to {self._sent}" if self._sent else "no step yet")
        steps = self._steps.after(self._sent, AT_ONCE)
        if steps:
            self._tracker.send(steps)
            self._sent = steps[-1].number
        return not steps

    def _complete(self) -> bool:
        last = last_step(self._run / "config.textproto")
        return last is not None and self._sent is not None and self._sent >= last

    def _finish(self) -> bool:
        if self._sent is None:
            return False
        behind = self._steps.after(self._sent, 1)
        self._tracker.close(self._complete())
        log.info("sent up to step %d", self._sent)
        return not behind
