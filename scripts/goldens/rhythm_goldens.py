#!/usr/bin/env python3
"""Makes tests/goldens/rhythm: the rhythm of random responses of the tiny models, from float64 attention matrices.

    python scripts/goldens/rhythm_goldens.py [--out tests/goldens/rhythm] [--check]

Needs transformers==5.17.0, torch==2.11.0, numpy, safetensors. One FAMILY.jsonl per model; a line is what `tactus rhythm`
prints for these ids, plus "prompt_ids" and "response_ids"; "flow" is by all heads. The forward pass is
make_tiny_models.forward_float64, which
is held against transformers there; the metrics are rhythm_reference.py's. --check recomputes and compares.
"""

import argparse
import json
import pathlib
import random
import sys

import torch
import transformers
from safetensors.torch import load_file

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from base.local import ROOT  # noqa: E402
from goldens.make_tiny_models import forward_float64  # noqa: E402
from goldens.rhythm_reference import credit, flow, measure, sampled_layers  # noqa: E402

MODELS = ["llama", "qwen2", "qwen3", "mistral", "olmo2"]
LENGTHS = [(1, 5), (2, 16), (10, 3), (11, 17), (12, 40), (57, 1), (300, 33), (1000, 30)]  # response, prompt


def line(folder: pathlib.Path, name: str, prompt: list[int], response: list[int]) -> dict:
    config = transformers.AutoConfig.from_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    maps: list[torch.Tensor] = []
    with torch.no_grad():
        logp = torch.log_softmax(forward_float64(config, weights, prompt + response, maps), -1)
    drawn = logp[len(prompt) - 1 : -1]
    entropy = (-(drawn.exp() * drawn).sum(-1)).tolist()
    layers = sampled_layers(config.num_hidden_layers)
    rhythm = measure([m.numpy() for m in maps], layers, len(prompt))
    gamma = credit(rhythm, entropy)
    del rhythm["eligible"], rhythm["places"]
    short = lambda xs: [float(f"{x:.9g}") for x in xs]  # noqa: E731
    for key in ("waad", "delta", "fai"):
        rhythm[key] = short(rhythm[key])
    rhythm["span"] = [[layer, head, float(f"{d:.9g}")] for layer, head, d in rhythm["span"]]
    logprobs = short(drawn.gather(1, torch.tensor(response)[:, None])[:, 0].tolist())
    return {"id": name, "prompt_ids": prompt, "response_ids": response, **rhythm, "flow": short(flow(maps, layers, len(prompt))),
            "logprobs": logprobs, "entropy": short(entropy), "gamma": gamma}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "tests/goldens/rhythm")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    for seed, family in enumerate(MODELS):
        folder, draw = ROOT / "tests/goldens/models" / family, random.Random(seed)
        vocab = transformers.AutoConfig.from_pretrained(folder).vocab_size
        ids = lambda n: [draw.randrange(3, vocab) for _ in range(n)]  # noqa: E731, B023
        text = "".join(json.dumps(line(folder, f"{family}-{n}", ids(p), ids(n))) + "\n" for n, p in LENGTHS)
        path = args.out / f"{family}.jsonl"
        if not args.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        elif path.read_text() != text:
            sys.exit(f"{path} is not what this script makes")
        print(f"{path}: {len(LENGTHS)} responses")


if __name__ == "__main__":
    main()
