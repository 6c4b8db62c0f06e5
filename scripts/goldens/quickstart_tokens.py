#!/usr/bin/env python3
"""Encodes worked answers and other text with Hugging Face `tokenizers` and models/quickstart-base/tokenizer.json.

Writes tests/goldens/tasks/quickstart_tokens.json: {"versions", "cases": [{"text", "ids"}]}.
Needs tokenizers:  scripts/goldens/quickstart_tokens.py
"""
import json
import pathlib
import random

import tokenizers

ROOT = pathlib.Path(__file__).resolve().parents[2]


def main():
    tokenizer = tokenizers.Tokenizer.from_file(str(ROOT / "models" / "quickstart-base" / "tokenizer.json"))
    texts = [str(n) for n in range(320)]
    texts += ["7 5 3=36:7-5=2 3*2=6 no\n7+5=12 12*3=36 yes\n<answer>(7+5)*3</answer><|end|><|pad|>",
              " no\n yes\n no yes no no\n\n", "no\nyes\nnope yesno", "110 1100 0110 1234567890 007", "<answer></answer", "",
              " \t\r\n\x00 h\u00e9llo W\u00f6rld \u65e5\u672c \U0001f600 (7\u00d75)\u00f73\u22121"]
    rng = random.Random(1)
    pieces = ["<answer>", "</answer>", "<|end|>", " no\n", " yes\n", " ", "\n", *"0123456789+-*/()=:", "x", "\u00e9"]
    texts += ["".join(rng.choices(pieces, k=rng.randint(1, 40))) for _ in range(200)]
    cases = [{"text": text, "ids": tokenizer.encode(text).ids} for text in texts]
    path = ROOT / "tests" / "goldens" / "tasks" / "quickstart_tokens.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    golden = {"versions": {"tokenizers": tokenizers.__version__}, "cases": cases}
    path.write_text(json.dumps(golden, separators=(",", ":")) + "\n")
    print(f"wrote {len(cases)} cases to {path}")


if __name__ == "__main__":
    main()
