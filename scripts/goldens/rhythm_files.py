"""What the makers of the rhythm's goldens share: the families, how numbers are rounded, and the files."""

import argparse
import json
import pathlib
import random
import sys
from collections.abc import Callable, Iterable

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from base.local import ROOT  # noqa: E402

MODELS = ["llama", "qwen2", "qwen3", "mistral", "olmo2"]


def short(values: Iterable[float]) -> list[float]:
    return [float(f"{x:.9g}") for x in values]


def shortened(rhythm: dict) -> dict:
    """What rhythm_reference.measure gives, with the digits that a golden keeps."""
    span = [[layer, head, float(f"{d:.9g}")] for layer, head, d in rhythm["span"]]
    return {**rhythm, **{key: short(rhythm[key]) for key in ("waad", "delta", "fai")}, "span": span}


def make(doc: str, folder: pathlib.Path, what: str, lines_of: Callable[[str, pathlib.Path, random.Random], list[dict]]) -> None:
    """The command line of a maker: FAMILY.jsonl of every family in --out, or with --check held against what is there. lines_of:
    the lines of a family, given its model's folder and its own random numbers."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / folder)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    for seed, family in enumerate(MODELS):
        lines = lines_of(family, ROOT / "tests/goldens/models" / family, random.Random(seed))
        text = "".join(json.dumps(line) + "\n" for line in lines)
        path = args.out / f"{family}.jsonl"
        if not args.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        elif path.read_text() != text:
            sys.exit(f"{path} is not what this script makes")
        print(f"{path}: {len(lines)} {what}")
