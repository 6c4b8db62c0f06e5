"""Rewards programs: the share of a question's tests that an answer's Python passes, each in a locked-down process.

A line of the data: {"question": "Write f(x), which doubles x.", "tests": [["f(2)", "4"], ["f('a')", "'aa'"]]}
What a call should give never enters the process: a program can print it by computing it alone.
"""

import concurrent.futures
import os
import re

from tactus_env import Environment, Score, serve
from tactus_env.sandbox import run


def program_of(text: str) -> str:
    """What stands in the last ``` block, or all of it."""
    blocks = re.findall(r"```(?:python)?\n(.*?)```", text, re.DOTALL)
    return blocks[-1] if blocks else text


class CodeExecution(Environment):
    name = "code-execution"

    def __init__(self, at_once: int = os.cpu_count() or 1, timeout_s: float = 5.0):
        self._threads = concurrent.futures.ThreadPoolExecutor(at_once)
        self._timeout_s = timeout_s

    def score(self, prompt, completions, answer_key):
        return list(self._threads.map(lambda one: self._score(one.text, answer_key["tests"]), completions))

    def _score(self, text, tests):
        passed, reason = 0, "wrong_value"
        for call, expected in tests:
            result = run(f"{program_of(text)}\nprint(repr({call}))", timeout_s=self._timeout_s)
            passed += result.ok and result.stdout.splitlines()[-1:] == [expected]
            reason = reason if result.ok else result.reason
        right = passed == len(tests)
        return Score(passed / len(tests), right, "correct" if right else reason)


if __name__ == "__main__":
    serve(CodeExecution(), "127.0.0.1:9000")
