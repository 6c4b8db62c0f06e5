"""A product that a small model cannot work out, and a calculator that can: the model has to learn to ask it, and to say what it said.

    37*48?                     the prompt
    [37*48]                    the model calls, and ends its turn
    =1776                      the calculator answers
    <answer>1776</answer>      the model says so: 1. Anything else, and an answer without a call that is wrong: 0

    python examples/tool_use/server.py [HOST:PORT]
    task { name: "environment" }  environment { address: "127.0.0.1:9000" }

The markup is of single characters and of tokens that models/quickstart-base has. docs/recipes/learn-to-use-a-tool.md tells the rest.
"""

import re
import sys

from conversations import pairs
from tactus_env import Conversation, Done, Prompt, Say, serve

CALL = re.compile(r"\[([0-9]{1,3})\*([0-9]{1,3})\]")
ANSWER = re.compile(r"<answer>([0-9]{1,9})</answer>")


class ToolUse(Conversation):
    name = "tool use"

    @classmethod
    def prompts(cls, split):
        for a, b in pairs(split):
            yield Prompt(f"{a}*{b}?", answer_key={"answer": a * b})

    def reset(self, opening):
        self.answer, self.calls = opening.answer_key["answer"], 0

    def step(self, turn):
        call = CALL.fullmatch(turn.text)
        if call:
            self.calls += 1
            return Say(raw=f"={int(call[1]) * int(call[2])}\n")
        said = ANSWER.fullmatch(turn.text)
        right = said is not None and int(said[1]) == self.answer
        return Done(float(right), reason="right" if right else "wrong" if said else "neither", metrics={"calls": self.calls})


if __name__ == "__main__":
    serve(ToolUse, sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:9000")
