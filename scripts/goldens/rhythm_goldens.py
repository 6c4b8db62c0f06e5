#!/usr/bin/env python3
"""Makes tests/goldens/rhythm: the rhythm of random responses of the tiny models, from float64 attention matrices.

    python scripts/goldens/rhythm_goldens.py [--out tests/goldens/rhythm] [--check]

Needs transformers==5.17.0, torch==2.11.0, numpy, safetensors. One FAMILY.jsonl per model; a line is what `tactus rhythm`
prints for these ids, plus "prompt_ids" and "response_ids"; "flow" is by all heads. The forward pass is
make_tiny_models.forward_float64, which
is held against transformers there; the metrics are rhythm_reference.py's. --check recomputes and compares.
"""

import pathlib
import random
import sys

import torch
import transformers
from safetensors.torch import load_file

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from goldens.make_tiny_models import forward_float64  # noqa: E402
from goldens.rhythm_files import make, short, shortened  # noqa: E402
from goldens.rhythm_reference import credit, flow, measure, sampled_layers  # noqa: E402

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
    logprobs = short(drawn.gather(1, torch.tensor(response)[:, None])[:, 0].tolist())
    return {"id": name, "prompt_ids": prompt, "response_ids": response, **shortened(rhythm), "flow": short(flow(maps, layers, len(prompt))),
            "logprobs": logprobs, "entropy": short(entropy), "gamma": gamma}


def lines_of(family: str, folder: pathlib.Path, draw: random.Random) -> list[dict]:
    vocab = transformers.AutoConfig.from_pretrained(folder).vocab_size
    ids = lambda n: [draw.randrange(3, vocab) for _ in range(n)]  # noqa: E731
    return [line(folder, f"{family}-{n}", ids(p), ids(n)) for n, p in LENGTHS]


if __name__ == "__main__":
    make(__doc__, pathlib.Path("tests/goldens/rhythm"), "responses", lines_of)
