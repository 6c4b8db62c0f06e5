#!/usr/bin/env python3
"""Holds what the dashboards show against metrics.jsonl, at steps of 2 s and of 10 minutes.

    python3 scripts/monitoring/truth.py --build build/release [--table]

Trains the quick start's policy for STEPS steps and writes down what its processes expose, many times a step. That is replayed
into a real Prometheus with its time stretched, so that a step lasts 2 s (scraped each second) and 600 s (each 15 s): every
duration and moment is stretched with it. Then the queries of the dashboards Run, Compare and Fleet are asked, in the middle of
steps, for the numbers that metrics.jsonl has too: each may be TOLERANCE off. As a self-test, rates of counters that move once a
step, which a dashboard must not show, have to be found wrong. --table prints what was compared. About a minute.
"""

import argparse
import json
import math
import pathlib
import re
import struct
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from monitoring import run_dashboards, tools  # noqa: E402
from monitoring.replay import Recording, Replay, Stretched, expression, record  # noqa: E402

STEPS, CAPTURE_S, TOLERANCE = 16, 0.04, 0.02
SPEEDS = {"2 s": (2.0, 1.0), "10 min": (600.0, 15.0)}  # a step's length, and the scrape interval
PRICE, PEAK, PLANNED = 2.0, 989e12, 100000
# Seen once a step in a rate interval of a minute, these say 0 or far too much.
WRONG = ["sum(rate(tactus_learner_tokens_total[1m]))", "3600 * sum(rate(tactus_learner_step_duration_seconds_count[1m]))"]


def parameters() -> int:
    """Of the quick start's policy, from its file."""
    with (tools.ROOT / "models/quickstart/model.safetensors").open("rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    return sum(math.prod(x["shape"]) for name, x in header.items() if name != "__metadata__")


def truths(rows: list[dict], done: int, factor: float) -> dict[tuple[str, str], float | None]:
    """(panel, legend) on the dashboard Run -> what metrics.jsonl says after `done` steps; durations stretched."""
    # "Time left" is not compared: its mean begins with whichever step the first scrape met.
    row = rows[done - 1]
    step_s, held_out = row["step_time_s"] * factor, [r["eval_pass1"] for r in rows[:done] if "eval_pass1" in r]
    trained, ranks, actors = row["tokens_trained_per_s"] / factor, 1, row["actors_connected"]
    run = "quickstart"
    phases = {"wait_trajectories": "wait"} | {x: x for x in ("forward", "backward", "allreduce", "optimizer", "publish", "checkpoint")}
    return {
        ("Step", "done"): done, ("Step", "planned"): PLANNED, ("Steps an hour", run): 3600 / step_s,
        ("Cost", "an hour"): (ranks + actors) * PRICE, ("Cost", "a step"): (ranks + actors) * PRICE * step_s / 3600,
        ("Reward by task, and pass@k on held-out prompts", f"{run} countdown reward"): row["reward_mean"],
        ("Reward by task, and pass@k on held-out prompts", f"{run} countdown held-out pass@1"): held_out[-1] if held_out else None,
        ("Completion length", f"{run} mean"): row["completion_tokens_mean"],
        ("Entropy", run): row["entropy_mean"], ("KL", f"{run} reference"): row.get("kl_k3"),
        ("KL", f"{run} proximal"): row.get("kl_proximal"), ("Gradient norm", run): row.get("grad_norm"),
        **{("Step time by phase (rank 0)", f"{run} {x}"): row[f"phase_{key}_s"] * factor for x, key in phases.items()},
        ("Tokens a second, by GPU", f"{run} trained"): trained / ranks,
        ("Tokens a second, by GPU", f"{run} sampled"): row["tokens_generated_per_s"] / factor / actors,
        ("MFU", run): 6 * parameters() * trained / (PEAK * ranks),
        ("Who waits", f"{run} learner"): row["phase_wait_s"] / row["step_time_s"],
        ("Actors: connected, desired", f"{run} connected"): actors,
        ("Staleness", f"{run} mean"): row["staleness_mean"], ("Staleness", f"{run} max"): row["staleness_max"],
        ("Unaccounted completions", f"{run} received less accepted, rejected"): 0,
        ("Unaccounted completions", f"{run} accepted less trained, dropped, queued"): 0,
        ("Errors", f"{run} updates skipped"): 0, ("Errors", f"{run} checkpoints failed"): 0,
    }  # fmt: skip


COMPARED = {"Reward": "reward_mean", "Held-out pass@1": "eval_pass1", "Length": "completion_tokens_mean", "Entropy": "entropy_mean",
            "KL": "kl_k3", "Gradient norm": "grad_norm", "Loss": "loss", "Step time": "step_time_s", "Throughput": "tokens_trained_per_s",
            "Staleness": "staleness_mean", "Groups without signal": "zero_signal_share"}  # fmt: skip


def close(seen: float | None, truth: float) -> bool:
    return seen is not None and abs(seen - truth) <= TOLERANCE * abs(truth) + 1e-9


def legend_of(target: dict, labels: dict) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda m: labels.get(m[1], ""), target["legendFormat"])


def panels(board: dict) -> list[dict]:
    return [p for p in board["panels"] if p.get("targets")]


def compare_run(replay: Replay, run: Stretched, values: dict[str, str], done: int, rows: list[tuple]) -> None:
    expected = truths(run.rows, done, run.factor)
    when = run.ends[done + 1] - 0.02 * run.factor
    for panel in panels(run_dashboards.run()):
        for target in panel["targets"]:
            wanted = {legend: x for (title, legend), x in expected.items() if title == panel["title"]}
            if not any(re.fullmatch(re.sub(r"\{\{\w+\}\}", ".+", target["legendFormat"]), legend) for legend in wanted):
                continue
            for labels, seen in replay.query(expression(target["expr"], values), when):
                if (truth := expected.pop((panel["title"], legend_of(target, labels)), None)) is not None:
                    rows.append((f"Run: {panel['title']}", legend_of(target, labels), done, seen, truth))
    rows += [(f"Run: {title}", legend, done, None, x) for (title, legend), x in expected.items() if x is not None]


def compare_steps(replay: Replay, run: Stretched, values: dict[str, str], rows: list[tuple]) -> None:
    """The dashboard over steps: each step's point. What no step of metrics.jsonl has (the policy's newest evaluation stays) is left."""
    last = max(run.ends)
    for panel in panels(run_dashboards.compare()):
        seen = {int(labels["step"]): value for labels, value in replay.query(expression(panel["targets"][0]["expr"], values), run.ends[last])}
        key = COMPARED[panel["title"]]
        scale = run.factor if key.endswith("_s") and "per_s" not in key else 1 / run.factor if "per_s" in key else 1
        for row in run.rows[1 : last - 1]:
            if row.get(key) is not None:
                rows.append((f"Compare: {panel['title']}", "quickstart", row["step"], seen.get(row["step"]), row[key] * scale))


def check(recording: Recording, name: str, folder: pathlib.Path, table: bool) -> list[str]:
    step_s, scrape_s = SPEEDS[name]
    run = Stretched(recording, step_s)
    replay = Replay([run], scrape_s, folder)
    values = {"$__rate_interval": f"{max(4, int(4 * scrape_s))}s", "$__range": f"{int(step_s * STEPS * 2)}s", "$price": f"{PRICE:g}",
              "$__interval": f"{max(1, int(scrape_s))}s", "$window": f"{int(6 * step_s)}s", "$peak": f"{PEAK:g}"}  # fmt: skip
    try:
        slow = [n for n in sorted(run.ends) if n + 1 in run.ends and 2 < n < STEPS - 1
                and run.ends[n + 1] - run.ends[n] > 1.5 * scrape_s]  # fmt: skip
        rows: list[tuple] = []
        for done in slow[:: max(1, len(slow) // 5)]:
            compare_run(replay, run, values, done, rows)
        compare_steps(replay, run, values, rows)
        found = [f"steps of {name}: {panel}, {legend}, step {done}: shows {seen}, metrics.jsonl says {truth}"
                 for panel, legend, done, seen, truth in rows if not close(seen, truth)]  # fmt: skip
        truth = run.rows[slow[0] - 1]["tokens_trained_per_s"] / run.factor
        wrong = [x[1] for expr in WRONG[:1] for x in replay.query(expr, run.ends[slow[0] + 1] - 0.02 * run.factor)]
        if name == "10 min" and any(close(x, truth) for x in wrong):
            found.append("self-test: a rate over a minute passes as tokens a second")
        worst = max((abs(s - t) / abs(t) for *_, s, t in rows if s is not None and t), default=0)
        print(f"steps of {name}: {len(rows)} numbers of {len({r[0] for r in rows})} panels compared, the worst {100 * worst:.3f} % off")
        for row in rows if table else ():
            print("| " + " | ".join(str(x) for x in row) + " |")
        return found
    finally:
        replay.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, required=True, help="build folder, as in build/release")
    parser.add_argument("--table", action="store_true")
    args = parser.parse_args()
    tools.need("prometheus", "promtool")
    tools.yaml_module()
    found = []
    with tempfile.TemporaryDirectory(prefix="tactus_truth_") as folder:
        recording = record(args.build.resolve(), pathlib.Path(folder) / "run", STEPS, CAPTURE_S)
        for i, name in enumerate(SPEEDS):
            (blocks := pathlib.Path(folder) / str(i)).mkdir()
            found += check(recording, name, blocks, args.table)
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
