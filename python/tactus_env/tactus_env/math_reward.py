"""Rewards by math-verify: `python -m tactus_env.math_reward --address 127.0.0.1:9000`.

The reference is the member "answer" of a line (as of GSM8K and MATH: what stands behind its last "####", or in its last
box). An answer that math-verify finds equal earns 1, any other 0. Each is checked in a process of its own pool, at most
--timeout-s; one that takes longer, or ends its process twice, cannot be shown to be right and earns 0 as "timed_out" or "died".
"""

from __future__ import annotations

import argparse
import concurrent.futures
import logging
from typing import Any, Sequence

from math_verify import parse, verify  # here, so that a process of the pool has it before its first answer

from .environment import Completion, Environment, Score
from .pool import Died, TimedPool
from .server import serve


logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns of every call without its own timeout


def reference_of(answer_key: Any) -> str:
    """ValueError: there is none."""
    answer = answer_key.get("answer") if isinstance(answer_key, dict) else answer_key
    if isinstance(answer, bool) or not isinstance(answer, (str, int, float)) or answer == "":
        raise ValueError(f'the answer key is {answer_key!r}: expected {{"answer": text or number}}')
    return str(answer).rpartition("####")[2].strip()


def check(reference: str, text: str) -> str:
    """ "correct", "wrong_answer" or "no_answer". ValueError: the reference is nothing that can be compared with."""
    # The pool has the timeout: theirs needs signals. A bare number or word is no LaTeX until it is marked as such.
    gold = parse(reference, parsing_timeout=None) or parse(f"${reference}$", parsing_timeout=None)
    if not gold:
        raise ValueError(f"the reference answer {reference!r} is no mathematics")
    found = parse(text, parsing_timeout=None)
    if not found:
        return "no_answer"
    return "correct" if verify(gold, found, timeout_seconds=None) else "wrong_answer"


class MathEnvironment(Environment):
    name = "math-verify"

    def __init__(self, processes: int = 4, timeout_s: float = 5.0):
        self._pool = TimedPool(check, processes, timeout_s)
        self._threads = concurrent.futures.ThreadPoolExecutor(processes)

    def score(self, prompt: str, completions: Sequence[Completion], answer_key: Any) -> list[Score]:
        reference = reference_of(answer_key)
        return list(self._threads.map(lambda one: self._score(reference, one.text), completions))

    def close(self) -> None:
        self._threads.shutdown()
        self._pool.close()

    def _score(self, reference: str, text: str) -> Score:
        reason = "died"
        for _ in range(2):
            try:
                reason = self._pool.call(reference, text)
            except TimeoutError:
                reason = "timed_out"
            except Died:
                continue
            break
        return Score(float(reason == "correct"), reason == "correct", reason)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", default="127.0.0.1:9000", help="HOST:PORT to serve at")
    parser.add_argument("--processes", type=int, default=4, help="answers that are checked at once")
    parser.add_argument("--timeout-s", type=float, default=5.0, help="for one answer")
    args = parser.parse_args()
    environment = MathEnvironment(args.processes, args.timeout_s)
    try:
        serve(environment, args.address)
    finally:
        environment.close()


if __name__ == "__main__":
    main()
