#!/usr/bin/env python3
"""Worker: transformers' generate. One run samples the workload's new tokens for all its prompts in one batch.

Temperature 1, no truncation of the distribution, the end token ignored: every sequence gets all its tokens. `tokens` counts
new ones; the time is that of the whole call, prefill and sampling included.
"""

import argparse

import torch
import transformers

from worker import load_workload, serve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("workload")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    work = load_workload(args.workload)
    model = transformers.AutoModelForCausalLM.from_pretrained(args.model, dtype=getattr(torch, args.dtype)).eval()
    prompts, new = torch.tensor(work["prompts"]), work["new_tokens"]
    how = dict(do_sample=True, temperature=1.0, top_k=0, top_p=1.0, min_new_tokens=new, max_new_tokens=new)

    def run() -> dict:
        out = model.generate(input_ids=prompts, attention_mask=torch.ones_like(prompts), **how)
        if out.shape != (len(prompts), prompts.shape[1] + new):
            raise SystemExit(f"transformers gave {tuple(out.shape)} tokens")
        return {"tokens": len(prompts) * new}

    serve({"what": "transformers generate", "version": transformers.__version__, "dtype": args.dtype,
           "threads": args.threads, "attention": model.config._attn_implementation}, run)


if __name__ == "__main__":
    main()
