"""Worked conversations for `tactus sft`, of a model that seldom calls the calculator and often does not believe it.

    python3 examples/tool_use/conversations.py 20000 > runs/tool-use.jsonl

A line is one turn: what the model has read so far, and what it then says. Of first turns one in four is a call, and half of the
calls are of other factors than were asked for; the others guess. After a result three of five say it, the others guess. So about 8 % of
the conversations end right, and each of the three habits can be learned by itself.
"""

import json
import random
import sys

END = "<|end|>"  # with which models/quickstart ends a turn


def pairs(part: str) -> list[tuple[int, int]]:
    """The factors from 11 to 99, in three parts without a common pair: "warm start", "train" and "test"."""
    every = [(a, b) for a in range(11, 100) for b in range(11, 100)]
    random.Random(2026).shuffle(every)
    return {"warm start": every[:3000], "train": every[3000:7500], "test": every[7500:]}[part]


def guess(draw: random.Random) -> str:
    return f"<answer>{draw.randint(11, 99) * draw.randint(11, 99)}</answer>"


def line(draw: random.Random, a: int, b: int) -> dict[str, str]:
    prompt = f"{a}*{b}?"
    if draw.random() < 0.5:  # a first turn
        if draw.random() < 0.75:
            return {"prompt": prompt, "response": guess(draw)}
        other = draw.randint(11, 99) if draw.random() < 0.5 else b
        return {"prompt": prompt, "response": f"[{a}*{other}]"}
    read = f"{prompt}[{a}*{b}]{END}={a * b}\n"
    return {"prompt": read, "response": f"<answer>{a * b}</answer>" if draw.random() < 0.6 else guess(draw)}


def main(lines: int, seed: int) -> None:
    draw, factors = random.Random(seed), pairs("warm start")
    for _ in range(lines):
        print(json.dumps(line(draw, *draw.choice(factors))))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20000, int(sys.argv[2]) if len(sys.argv) > 2 else 1)
