#!/usr/bin/env python3
"""What transformers answers with SmolLM2: greedy tokens and log-probs in float32, as JSON lines.

    python scripts/goldens/smollm2_reference.py MODEL OUT.jsonl

MODEL is a folder made by scripts/models/make_smollm2.py. Ten prompts, five through the chat template and five plain. A line is
{"id", "prompt_ids", "response_ids" (up to 64, to the end token), "logprobs", "smallest_gap"}: logprobs come from one
float32 pass over the whole sequence; smallest_gap is the least distance in logits between the best token and the next,
which says how near a greedy choice was to being a tie. Not committed, since the model is not; scripts/peers/run.sh makes it.
"""

import argparse
import json
import pathlib

import torch
import transformers

NEW_TOKENS = 64
CHAT = [
    "What is the capital of France, and what is it known for?",
    "Using the numbers 3, 7 and 12, write an expression that equals 24. Think step by step.",
    "Explain in a few sentences why the sky is blue.",
    "Write a short Python function that reverses a string.",
    "A train travels 60 miles per hour for 2.5 hours. How far does it go?",
]
PLAIN = [
    "Once upon a time, in a village by the sea,",
    "The three most important inventions of the twentieth century were",
    "def fibonacci(n):\n    ",
    "Water boils at 100 degrees Celsius because",
    "1 + 1 = 2\n2 + 2 = 4\n3 + 3 = 6\n4 + 4 =",
]


def prompts(tokenizer) -> list[tuple[str, list[int]]]:
    chat = [
        tokenizer.apply_chat_template([{"role": "user", "content": text}], add_generation_prompt=True, return_dict=True)
        for text in CHAT
    ]
    named = [(f"chat-{i}", list(x["input_ids"])) for i, x in enumerate(chat)]
    return named + [(f"plain-{i}", tokenizer(text)["input_ids"]) for i, text in enumerate(PLAIN)]


def reference(model, name: str, prompt_ids: list[int]) -> dict:
    ids = torch.tensor([prompt_ids])
    with torch.no_grad():
        out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False,
                             max_new_tokens=NEW_TOKENS)[0]
        logits = model(out[None]).logits[0, len(prompt_ids) - 1 : -1]
    response = out[len(prompt_ids) :]
    best = logits.topk(2).values
    chosen = torch.log_softmax(logits.double(), -1).gather(1, response[:, None])[:, 0]
    return {
        "id": name,
        "prompt_ids": prompt_ids,
        "response_ids": response.tolist(),
        "logprobs": [float(f"{x:.9g}") for x in chosen.tolist()],
        "smallest_gap": float((best[:, 0] - best[:, 1]).min()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    args = parser.parse_args()
    transformers.logging.disable_progress_bar()
    tokenizer = transformers.AutoTokenizer.from_pretrained(args.model)
    model = transformers.AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()
    lines = [reference(model, name, ids) for name, ids in prompts(tokenizer)]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text("".join(json.dumps(line) + "\n" for line in lines))
    tokens = sum(len(line["response_ids"]) for line in lines)
    print(f"{args.out}: {len(lines)} prompts, {tokens} tokens, smallest gap {min(x['smallest_gap'] for x in lines):.2g}")


if __name__ == "__main__":
    main()
