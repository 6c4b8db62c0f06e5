#!/usr/bin/env python3
"""Trains the quick start under several credit strategies and seeds, and compares: plain curves, with intervals.

    python3 scripts/study/learning_curves.py --out runs/credit [--strategies UNIFORM RANDOM COUPLED] [--seeds 1 2 3]
        [--config configs/quickstart.textproto] [--tactus build/release/bin/tactus] [--svg docs/img/learning.svg]

Every run sees the same number of samples. A run whose folder is there and finished is not trained again. Prints a Markdown
table and writes the curves as SVG: mean reward over bins of BIN steps, averaged over seeds, with a 95 % interval (Student's t
over seeds). Differences are paired by seed, since runs of one seed share their prompts' order and their first policy.
"""

import argparse
import json
import math
import pathlib
import statistics
import subprocess

BIN = 10
LAST = 10  # steps that "the end" averages over
T_975 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
COLOURS = ["#1b62c4", "#8a8f98", "#d9541e", "#2f8f4e", "#8b3fa8", "#b38600"]


def interval(values: list[float]) -> tuple[float, float]:
    """Mean and the half-width of its 95 % interval."""
    if len(values) < 2:
        return values[0], math.nan
    return statistics.fmean(values), T_975[len(values) - 1] * statistics.stdev(values) / math.sqrt(len(values))


def train(args, strategy: str, seed: int) -> pathlib.Path:
    folder = args.out / f"{strategy.lower()}-{seed}"
    if not (folder / "report.html").exists():
        call = [str(args.tactus), "train", "--config", str(args.config), "--actors", "2", "--out", str(folder),
                "--set", f"credit.strategy={strategy}", "--set", f"seed={seed}", "--set", "credit.measure=true"]
        print("+", " ".join(call), flush=True)
        subprocess.run(call, check=True, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=3600)
    return folder


def read(folder: pathlib.Path) -> dict:
    steps = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    held_out = [json.loads(line) for line in (folder / "held_out.jsonl").read_text().splitlines()]
    return {"reward": [s["reward_mean"] for s in steps], "before": held_out[0]["pass1"], "after": held_out[-1]["pass1"],
            "end": statistics.fmean(s["reward_mean"] for s in steps[-LAST:]),
            "area": statistics.fmean(s["reward_mean"] for s in steps)}


def table(runs: dict[str, dict[int, dict]]) -> str:
    text = ("| strategy | reward, last 10 steps | mean reward of the run | held-out pass@1 after | each seed's pass@1 |\n"
            "|---|---|---|---|---|\n")
    cell = lambda values: "{:.3f} ± {:.3f}".format(*interval(values))  # noqa: E731
    for strategy, by_seed in runs.items():
        each = [run for _, run in sorted(by_seed.items())]
        text += (f"| `{strategy}` | {cell([r['end'] for r in each])} | {cell([r['area'] for r in each])} | "
                 f"{cell([r['after'] for r in each])} | {', '.join(format(r['after'], '.3f') for r in each)} |\n")
    base = next(iter(runs))
    text += "\n| difference, paired by seed | reward, last 10 steps | mean reward of the run | held-out pass@1 |\n|---|---|---|---|\n"
    for strategy in list(runs)[1:]:
        less = lambda key: [runs[strategy][s][key] - runs[base][s][key] for s in sorted(runs[base])]  # noqa: E731, B023
        signed = lambda values: "{:+.3f} ± {:.3f}".format(*interval(values))  # noqa: E731
        text += f"| `{strategy}` − `{base}` | {signed(less('end'))} | {signed(less('area'))} | {signed(less('after'))} |\n"
    return text


def svg(runs: dict[str, dict[int, dict]]) -> str:
    width, height, left, bottom = 760, 360, 50, 40
    steps = min(len(r["reward"]) for by_seed in runs.values() for r in by_seed.values())
    bins = steps // BIN
    curves = {}
    for strategy, by_seed in runs.items():
        means = [[statistics.fmean(r["reward"][b * BIN : (b + 1) * BIN]) for r in by_seed.values()] for b in range(bins)]
        curves[strategy] = [interval(values) for values in means]
    top = math.ceil(max(m + (0 if math.isnan(h) else h) for c in curves.values() for m, h in c) * 10) / 10
    x = lambda b: left + (b + 0.5) * BIN / steps * (width - left - 20)  # noqa: E731
    y = lambda v: height - bottom - v / top * (height - bottom - 20)  # noqa: E731
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
           f'<rect width="{width}" height="{height}" fill="#fff"/>']
    for i in range(int(round(top * 10)) + 1):
        out.append(f'<line x1="{left}" x2="{width - 20}" y1="{y(i / 10):.1f}" y2="{y(i / 10):.1f}" stroke="#e3e5e8"/>'
                   f'<text x="{left - 8}" y="{y(i / 10) + 4:.1f}" text-anchor="end" fill="#555">{i / 10:.1f}</text>')
    out.append(f'<text x="{(left + width) / 2}" y="{height - 8}" text-anchor="middle" fill="#333">step (bins of {BIN}); '
               'mean reward, with 95 % intervals over seeds</text>')
    for i, (strategy, curve) in enumerate(curves.items()):
        colour, shift = COLOURS[i % len(COLOURS)], (i - (len(curves) - 1) / 2) * 5
        points = " ".join(f"{x(b) + shift:.1f},{y(m):.1f}" for b, (m, _) in enumerate(curve))
        out.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for b, (m, h) in enumerate(curve):
            if not math.isnan(h):
                out.append(f'<line x1="{x(b) + shift:.1f}" x2="{x(b) + shift:.1f}" y1="{y(max(0, m - h)):.1f}" '
                           f'y2="{y(min(top, m + h)):.1f}" stroke="{colour}" stroke-opacity="0.6"/>')
        out.append(f'<text x="{left + 12}" y="{34 + 17 * i}" fill="{colour}" font-weight="bold">{strategy}</text>')
        step_labels = "".join(f'<text x="{x(b):.1f}" y="{height - bottom + 16}" text-anchor="middle" fill="#555">{(b + 1) * BIN}</text>'
                              for b in range(bins)) if i == 0 else ""
        out.append(step_labels)
    return "\n".join(out) + "\n</svg>\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--strategies", nargs="+", default=["UNIFORM", "RANDOM", "COUPLED"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--config", type=pathlib.Path, default=pathlib.Path("configs/quickstart.textproto"))
    parser.add_argument("--tactus", type=pathlib.Path, default=pathlib.Path("build/release/bin/tactus"))
    parser.add_argument("--svg", type=pathlib.Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    # Seeds outermost: a drifting machine meets all strategies alike, and a stopped study has whole seeds.
    folders = {(s, seed): train(args, s, seed) for seed in args.seeds for s in args.strategies}
    runs = {s: {seed: read(folders[s, seed]) for seed in args.seeds} for s in args.strategies}
    print(table(runs))
    (args.out / "summary.json").write_text(json.dumps(runs, indent=1) + "\n")
    if args.svg:
        args.svg.write_text(svg(runs))


if __name__ == "__main__":
    main()
