#!/usr/bin/env python3
"""What attention metrics cost: Tactus's in the decode pass, against an extra eager forward of transformers with its maps.

    python bench/peers/rhythm_cost.py MODEL --rhythm-bench build/release/bin/rhythm_bench [--lengths 256 1024] [--rounds 5]
        [--threads 2] [--log bench/results/FILE]

Per length, in turn: `rhythm_bench` (metrics on and off at that context) and one transformers pass over whole sequences with
attn_implementation="eager", output_attentions=True, which is how the paper gets its maps (no generation, no metrics computed
from them). Prints one JSON record per length: microseconds that the metrics add per token on each side, and the ratio.
transformers keeps every layer's [heads, T, T]: 18 GB for one sequence of 4,096 tokens in float32, so that length has no peer.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import time

import torch
import transformers

SAMPLED_LAYERS = 5


def tactus_us(args, length: int) -> dict:
    call = [str(args.rhythm_bench), str(args.model), "--contexts", str(length), "--rounds", "9", "--threads", str(args.threads),
            "--parts", "attention,step"]
    done = subprocess.run(call, capture_output=True, text=True, check=True, timeout=1800)
    lines = {x["what"]: x for x in map(json.loads, done.stdout.splitlines())}
    added = {name: (lines[name]["on_s"]["median"] - lines[name]["off_s"]["median"]) * 1e6 / 32 for name in ("attention", "step", "recompute")}
    return {"op": added["attention"] * SAMPLED_LAYERS, "step": added["step"], "recompute": added["recompute"]}


def transformers_us(model, ids: torch.Tensor) -> float:
    start = time.perf_counter()
    with torch.no_grad():
        for sequence in ids:  # one at a time: the maps of one are all that must be alive
            maps = model(sequence[None], use_cache=False, output_attentions=True).attentions
            assert len(maps) == model.config.num_hidden_layers
    return (time.perf_counter() - start) * 1e6 / ids.numel()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--rhythm-bench", type=pathlib.Path, required=True)
    parser.add_argument("--lengths", type=int, nargs="+", default=[256, 1024])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--log", type=pathlib.Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    transformers.logging.disable_progress_bar()
    model = transformers.AutoModel.from_pretrained(args.model, dtype=torch.float32, attn_implementation="eager").eval()
    for length in args.lengths:
        ids = torch.randint(model.config.vocab_size, (max(1, 2048 // length), length), generator=torch.Generator().manual_seed(1))
        transformers_us(model, ids)
        peer, ours = [], []
        for _ in range(args.rounds):
            ours.append(tactus_us(args, length))
            peer.append(transformers_us(model, ids))
        middle = {key: statistics.median(x[key] for x in ours) for key in ours[0]}
        record = {
            "name": "rhythm-cost", "context": length, "rounds": args.rounds, "threads": args.threads,
            "tactus_op_us_per_token": middle["op"], "tactus_step_us_per_token": middle["step"],
            "tactus_recompute_us_per_token": middle["recompute"],
            "transformers_eager_maps_us_per_token": statistics.median(peer),
            "range": {"tactus_op": [min(x["op"] for x in ours), max(x["op"] for x in ours)],
                      "tactus_step": [min(x["step"] for x in ours), max(x["step"] for x in ours)],
                      "transformers": [min(peer), max(peer)]},
            "ratio_to_op": statistics.median(peer) / max(middle["op"], 1e-9),
            "ratio_to_step": statistics.median(peer) / max(middle["step"], 1e-9),
        }
        print(json.dumps(record), flush=True)
        if args.log:
            with args.log.open("a") as log:
                log.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
