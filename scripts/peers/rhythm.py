"""The check "rhythm" of against_transformers.py: `tactus rhythm` against full attention matrices from transformers."""

import random

import torch
import transformers

from goldens.rhythm_reference import credit, measure, sampled_layers

LENGTHS = [1, 2, 5, 10, 11, 12, 40, 111, 200, 333, 500, 640, 820, 1000]  # response tokens
CACHE_MIB = 64  # 88 pages of SmolLM2: two of the longest responses do not fit at once, so one is preempted
TOLERANCE = 1e-4


def responses(bench) -> list[dict]:
    """Sampled answers cut or topped up with random tokens to the lengths wanted: real text, and what no text looks like."""
    draw = random.Random(11)
    wanted = bench.reference()
    prompts = [{"id": f"n{n}", "prompt_ids": wanted[i % len(wanted)]["prompt_ids"]} for i, n in enumerate(LENGTHS)]
    flags = ("--max-tokens", str(max(LENGTHS)), "--temperature", "0.8", "--seed", "3")
    answers = {x["id"]: x["ids"] for x in bench.tactus("generate", prompts, *flags)}
    lines = []
    for line, n in zip(prompts, LENGTHS, strict=True):
        ids = answers[line["id"]][:n]
        ids += [draw.randrange(len(bench.tokenizer)) for _ in range(n - len(ids))]
        lines.append({**line, "response_ids": ids})
    return lines


def reference(model, line: dict) -> dict:
    prompt, ids = line["prompt_ids"], torch.tensor([line["prompt_ids"] + line["response_ids"]])
    with torch.no_grad():
        out = model(ids, output_attentions=True)
    logp = torch.log_softmax(out.logits[0, len(prompt) - 1 : -1].double(), -1)
    maps = {layer: out.attentions[layer][0].double().numpy() for layer in sampled_layers(model.config.num_hidden_layers)}
    result = measure(maps, sorted(maps), len(prompt))
    result["entropy"] = (-(logp.exp() * logp).sum(-1)).tolist()
    result["gamma"] = credit(result, result["entropy"])
    return result


def moved(result: dict, draw: random.Random) -> dict:
    """The weights after every value moved by a random amount of the error allowed."""
    unit = lambda: draw.uniform(-1, 1)  # noqa: E731
    other = {
        "waad": [x + 10 * TOLERANCE * unit() for x in result["waad"]],
        "delta": [x + 10 * TOLERANCE * unit() for x in result["delta"][:-1]] + [0.0],
        "fai": [x * (1 + TOLERANCE * unit()) for x in result["fai"]],
        "eligible": result["eligible"],
    }
    return credit(other, [x + TOLERANCE * unit() for x in result["entropy"]])


def compare(got: dict, want: dict, worst: dict) -> tuple[int, int]:
    """Largest errors into `worst`; gives the weights that differ, and how many weights there are."""
    for key in ("layers", "local_heads", "global_heads"):
        if got[key] != want[key]:
            raise RuntimeError(f"{got['id']}: {key} is {got[key]}, expected {want[key]}")
    pairs = {
        "span": [(a[2], b[2], abs(b[2])) for a, b in zip(got["span"], want["span"], strict=True)],
        "waad": [(a, b, 10) for a, b in zip(got["waad"], want["waad"], strict=True)],
        "delta": [(a, b, 10) for a, b in zip(got["delta"], want["delta"], strict=True)],
        "fai": [(a, b, abs(b) or 1) for a, b in zip(got["fai"], want["fai"], strict=True)],
    }
    for key, values in pairs.items():
        worst[key] = max(worst.get(key, 0.0), max(abs(a - b) / size for a, b, size in values))
        if worst[key] > TOLERANCE:
            raise RuntimeError(f"{got['id']}: {key} is off by {worst[key]:.2g} relative, allowed {TOLERANCE}")
    draw, tied = random.Random(1), {name: set() for name in want["gamma"]}
    for _ in range(30):
        for name, weights in moved(want, draw).items():
            tied[name] |= {t for t, (a, b) in enumerate(zip(weights, want["gamma"][name], strict=True)) if a != b}
    differing = total = 0
    for name, weights in want["gamma"].items():
        wrong = {t for t, (a, b) in enumerate(zip(got["gamma"][name], weights, strict=True)) if a != b}
        if wrong - tied[name]:
            raise RuntimeError(f"{got['id']}: {name} differs at {sorted(wrong - tied[name])[:5]}, which are no ties")
        differing, total = differing + len(wrong), total + len(weights)
    return differing, total


def check_rhythm(bench) -> str:
    lines = responses(bench)
    got = bench.tactus("rhythm", lines, "--batch", "14", "--kv-cache-mib", str(CACHE_MIB))
    alone = bench.tactus("rhythm", lines[:8], "--batch", "1")
    if alone != got[:8]:
        raise RuntimeError("a response decoded alone gives other numbers than in a batch under preemption")
    model = transformers.AutoModelForCausalLM.from_pretrained(
        bench.args.model, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    worst: dict[str, float] = {}
    counts = [compare(a, reference(model, line), worst) for a, line in zip(got, lines, strict=True)]
    errors = ", ".join(f"{key} {value:.2g}" for key, value in worst.items())
    return (f"{len(lines)} responses of 1 to {max(LENGTHS)} tokens: relative errors {errors}; classes equal; "
            f"{sum(c[0] for c in counts)} of {sum(c[1] for c in counts)} weights differ, all ties within the error")
