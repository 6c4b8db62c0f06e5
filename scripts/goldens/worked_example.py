#!/usr/bin/env python3
"""Computes the worked example of docs/idea.md from its attention, and draws its picture.

    python3 scripts/goldens/worked_example.py        prints the table, writes docs/img/worked_example.svg

Plain Python after the definitions of docs/rhythm.md; tests/rhythm/worked_example_test.cc holds the page's table against
the product's own functions.
"""

import json
import pathlib
import statistics
from fractions import Fraction

ROOT = pathlib.Path(__file__).resolve().parents[2]
FONT = "ui-sans-serif,Helvetica,Arial,sans-serif"
BLUE, ORANGE, GREY, INK = "#2563a8", "#b45309", "#6b7280", "#1f2937"


def quantile(values: list[float], p: Fraction) -> float:
    ordered, place = sorted(values), (len(values) - 1) * p
    low = int(place)
    high = min(low + 1, len(values) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * float(place - low)


def compute(example: dict) -> dict[str, list[float]]:
    options, prompt = example["options"], len(example["prompt"])
    n, bonus = len(example["answer"]), options["amplification"] - 1
    window, near = options["window_tokens"], options["horizon_min_tokens"]

    def waad_of(t: int) -> float:
        return sum(p * min(prompt + t - int(j), window) for j, p in example["local_head"][t].items())

    def fai_of(s: int) -> float:
        rows = [example["global_head"][t].get(str(prompt + s), 0.0) for t in range(s + near, n)]
        return sum(rows) / len(rows) if rows else 0.0

    waad, fai = [waad_of(t) for t in range(n)], [fai_of(s) for s in range(n)]
    delta = [abs(a - b) for a, b in zip(waad, waad[1:])] + [0.0]
    eligible = range(max(0, n - near))
    count = max(1, int(Fraction(options["q"]) * n))
    anchors = sorted(eligible, key=lambda s: (-fai[s], s))[:count]
    waad_bound = quantile(waad, Fraction(options["waad_quantile"]))
    delta_bound = quantile(delta, Fraction(options["delta_quantile"]))
    gamma, introduced_by = [1.0] * n, set()
    for s in anchors:
        before = range(max(0, s - options["lookback_tokens"]), s)
        intro = max(before, key=lambda u: (delta[u], u), default=None)
        dominated = intro is not None and waad[s] <= waad_bound and delta[intro] >= delta_bound
        gamma[s] += bonus * (1 - options["alpha"]) if dominated else bonus
        if dominated:
            introduced_by.add(intro)
    for u in introduced_by:
        gamma[u] += bonus * options["alpha"]
    rewards = example["group_rewards"]
    advantage = (rewards[0] - statistics.fmean(rewards)) / (statistics.pstdev(rewards) + 1e-6)
    gradient = [-g * advantage / (n * len(rewards)) for g in gamma]
    return {"WAAD": waad, "Delta": delta, "FAI": fai, "gamma": gamma, "gradient": gradient}


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
