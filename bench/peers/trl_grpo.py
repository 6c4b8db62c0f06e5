#!/usr/bin/env python3
"""Worker: TRL's GRPOTrainer. One run is one optimizer step on the workload's prompts and given completions.

Nothing is generated: TRL's own rollout_func hook hands it the workload's tokens. `seconds` is the step without that
preparation, so forward, loss, backward, clipping and AdamW; `tokens` counts completion tokens. --autocast is bf16 arithmetic on
float32 weights, TRL's default.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time

import torch
import transformers
import trl
from datasets import Dataset

from worker import load_workload


class Stepper(transformers.TrainerCallback):
    """Starts a step when a "run" comes in and answers when it is done; ends the training when the input does."""

    def __init__(self, answers, ready: dict, tokens: int):
        self.answers, self.tokens, self.prepared = answers, tokens, 0.0
        self.ready = ready

    def answer(self, record: dict) -> None:
        self.answers.write(json.dumps(record) + "\n")
        self.answers.flush()

    def wait(self, control) -> None:
        control.should_training_stop = sys.stdin.readline().strip() != "run"
        self.start = time.perf_counter()
        self.prepared = 0.0

    def on_train_begin(self, args, state, control, **kwargs):
        self.answer({"ready": self.ready})
        self.wait(control)

    def on_step_end(self, args, state, control, **kwargs):
        seconds = time.perf_counter() - self.start
        self.answer({"seconds": seconds - self.prepared, "tokens": self.tokens, "prepare_seconds": self.prepared,
                     "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024})
        self.wait(control)


def make_trainer(args, work: dict, stepper: Stepper, folder: str):
    class Timed(trl.GRPOTrainer):
        def _generate_and_score_completions(self, inputs):
            start = time.perf_counter()
            out = super()._generate_and_score_completions(inputs)
            stepper.prepared += time.perf_counter() - start
            return out

    prompts, completions = work["prompts"], work["completions"]

    def rollout(batch, trainer):
        if len(batch) != len(prompts):
            raise SystemExit(f"TRL asked for {len(batch)} completions, the workload has {len(prompts)}")
        return {"prompt_ids": prompts, "completion_ids": completions, "logprobs": None}

    def reward(completion_ids, **_):
        return [float(i % 2) for i in range(len(completion_ids))]

    config = trl.GRPOConfig(
        output_dir=folder, use_cpu=True, bf16=args.autocast, gradient_checkpointing=args.checkpointing, beta=0.0,
        num_generations=8, per_device_train_batch_size=args.micro, gradient_accumulation_steps=len(prompts) // args.micro,
        max_completion_length=work["new_tokens"], max_steps=10**6, learning_rate=1e-6, report_to=[], save_strategy="no",
        logging_steps=10**6, disable_tqdm=True, dataloader_num_workers=0,
    )
    model = transformers.AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(args.model)
    data = Dataset.from_dict({"prompt": [tokenizer.decode(ids) for ids in prompts]})
    return Timed(model=model, reward_funcs=reward, args=config, train_dataset=data, processing_class=tokenizer,
                 rollout_func=rollout, callbacks=[stepper])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("workload")
    parser.add_argument("--autocast", action="store_true")
    parser.add_argument("--checkpointing", action="store_true", help="gradient checkpointing")
    parser.add_argument("--micro", type=int, default=8, help="sequences per backward pass")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    work = load_workload(args.workload)
    ready = {"what": "TRL GRPO update", "version": trl.__version__, "dtype": "float32 weights" + ", bf16 autocast" * args.autocast,
             "micro": args.micro, "checkpointing": args.checkpointing, "threads": args.threads}
    stepper = Stepper(answers, ready, sum(map(len, work["completions"])))
    with tempfile.TemporaryDirectory() as folder:
        make_trainer(args, work, stepper, folder).train()


if __name__ == "__main__":
    main()
