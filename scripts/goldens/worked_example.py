#!/usr/bin/env python3
"""Computes the worked example of docs/idea.md from its attention, and draws its picture.

    python3 scripts/goldens/worked_example.py        prints the table, writes docs/img/worked_example.svg

Needs numpy. Metrics and credit are rhythm_reference.py's; tests/rhythm/worked_example_test.cc holds the page's table against
the product's own functions.
"""

import json
import pathlib
import statistics

import numpy as np
from rhythm_reference import credit, measure

ROOT = pathlib.Path(__file__).resolve().parents[2]
FONT = "ui-sans-serif,Helvetica,Arial,sans-serif"
BLUE, ORANGE, GREY, INK = "#2563a8", "#b45309", "#6b7280", "#1f2937"


def compute(example: dict) -> dict[str, list[float]]:
    options, prompt, n = example["options"], len(example["prompt"]), len(example["answer"])
    maps = np.zeros((2, prompt + n, prompt + n))
    for h, head in enumerate(("local_head", "global_head")):
        for t, row in enumerate(example[head]):
            for position, probability in row.items():
                maps[h, prompt + t, int(position)] = probability
    horizon = (options["horizon_min_tokens"], n)
    rhythm = measure([maps], [0], prompt, options["window_tokens"], horizon)
    weights = credit(rhythm, [0.0] * n, options["q"], options["amplification"], options["lookback_tokens"], options["alpha"])
    rewards, gamma = example["group_rewards"], weights["COUPLED"]
    advantage = (rewards[0] - statistics.fmean(rewards)) / (statistics.pstdev(rewards) + 1e-6)
    gradient = [-g * advantage / (n * len(rewards)) for g in gamma]
    return {"WAAD": rhythm["waad"], "Delta": rhythm["delta"], "FAI": rhythm["fai"], "gamma": gamma, "gradient": gradient}


def table(example: dict, values: dict[str, list[float]]) -> str:
    rows = ["| t | token | WAAD | Δ | FAI | γ | γ · A | d loss / d log p |", "|---|---|---|---|---|---|---|---|"]
    near, n = example["options"]["horizon_min_tokens"], len(example["answer"])
    scale = n * len(example["group_rewards"])
    for t, token in enumerate(example["answer"]):
        fai = f"{values['FAI'][t]:.3f}" if t + near < n else "none"
        rows.append(f"| {t} | `{token}` | {values['WAAD'][t]:.1f} | {values['Delta'][t]:.1f} | {fai} "
                    f"| {values['gamma'][t]:.2f} | {-values['gradient'][t] * scale:.3f} | {values['gradient'][t]:.4f} |")
    return "\n".join(rows)


def draw(example: dict, values: dict[str, list[float]]) -> str:
    left, step, base, height = 96, 58, 150, 92
    n, near = len(example["answer"]), example["options"]["horizon_min_tokens"]
    width = left + n * step + 16
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="330" viewBox="0 0 {width} 330" role="img" '
           f'aria-label="WAAD above and FAI below each token of the answer; amplified tokens are filled">',
           f'<rect width="100%" height="100%" fill="#ffffff"/><g font-family="{FONT}" font-size="13" fill="{INK}">',
           f'<text x="12" y="{base - 44}" fill="{BLUE}">WAAD</text><text x="12" y="{base - 28}" fill="{GREY}" font-size="11">looks back</text>',
           f'<text x="12" y="{base + 90}" fill="{ORANGE}">FAI</text><text x="12" y="{base + 106}" fill="{GREY}" font-size="11">is looked at</text>']
    for t, token in enumerate(example["answer"]):
        x, gamma = left + t * step, values["gamma"][t]
        bar = values["WAAD"][t] / 10 * height
        out.append(f'<rect x="{x + 14}" y="{base - 8 - bar:.1f}" width="22" height="{bar:.1f}" fill="{BLUE}"/>')
        out.append(f'<text x="{x + 25}" y="{base - 13 - bar:.1f}" text-anchor="middle" font-size="11" fill="{BLUE}">{values["WAAD"][t]:.1f}</text>')
        fill = "#ffffff" if gamma == 1 else f"rgba(21,128,61,{(gamma - 1) * 0.9:.2f})"
        out.append(f'<rect x="{x}" y="{base}" width="50" height="44" rx="5" fill="{fill}" stroke="#9ca3af"/>')
        out.append(f'<text x="{x + 25}" y="{base + 20}" text-anchor="middle">{token}</text>')
        out.append(f'<text x="{x + 25}" y="{base + 36}" text-anchor="middle" font-size="11" fill="{INK}">γ {gamma:g}</text>')
        if t + near >= n:
            out.append(f'<text x="{x + 25}" y="{base + 66}" text-anchor="middle" font-size="11" fill="{GREY}">none</text>')
            continue
        bar = values["FAI"][t] / 0.5 * height
        out.append(f'<rect x="{x + 14}" y="{base + 52}" width="22" height="{bar:.1f}" fill="{ORANGE}"/>')
        out.append(f'<text x="{x + 25}" y="{base + 66 + bar:.1f}" text-anchor="middle" font-size="11" fill="{ORANGE}">{values["FAI"][t]:.2f}</text>')
    return "\n".join(out) + "\n</g></svg>\n"


def main() -> None:
    example = json.loads((ROOT / "tests/goldens/worked_example/attention.json").read_text())
    for head in ("local_head", "global_head"):
        for t, row in enumerate(example[head]):
            assert abs(sum(row.values()) - 1) < 1e-9, f"{head} row {t} sums to {sum(row.values())}, expected 1"
    values = compute(example)
    (ROOT / "docs/img/worked_example.svg").write_text(draw(example, values))
    print(table(example, values))


if __name__ == "__main__":
    main()
