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
import collections
import dataclasses
import json
import math
import pathlib
import re
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from base.local import free_port, read_url, stop, wait  # noqa: E402
from monitoring import live, promql, rules, run_dashboards, tools  # noqa: E402

STEPS, CAPTURE_S, TOLERANCE, RUN_S = 16, 0.04, 0.02, 400
EPOCH = 1_700_000_000.0
SPEEDS = {"2 s": (2.0, 1.0), "10 min": (600.0, 15.0)}  # a step's length, and the scrape interval
PRICE, PEAK, PLANNED = 2.0, 989e12, 100000
_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")
# Seen once a step in a rate interval of a minute, these say 0 or far too much.
WRONG = ["sum(rate(tactus_learner_tokens_total[1m]))", "3600 * sum(rate(tactus_learner_step_duration_seconds_count[1m]))"]


@dataclasses.dataclass
class Recording:
    scrapes: list[tuple[float, str, list[tuple[str, str, float]]]]  # when, target's labels, samples
    rows: list[dict]  # of metrics.jsonl


def record(build: pathlib.Path, folder: pathlib.Path) -> Recording:
    run, scrapes = folder / "run", []
    train = live.start_run(build, run)
    try:
        targets = run / "logs/metrics-targets.json"
        live.await_that("list of all processes",
                        lambda: targets.exists() and len(json.loads(targets.read_text())) == 1 + live.ACTORS, live.READY_S, train)
        listed = json.loads(targets.read_text())
        until = time.monotonic() + RUN_S
        while (lines := (run / "metrics.jsonl")) and (not lines.exists() or lines.read_text().count("\n") < STEPS):
            if train.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"no {STEPS} steps within {RUN_S} s")
            for entry in listed:
                status, text = read_url(f"http://{entry['targets'][0]}/metrics")
                labels = ",".join(f'{k}="{v}"' for k, v in entry["labels"].items())
                samples = [m.groups() for line in text.splitlines() if (m := _SAMPLE.match(line))]
                if status == 200:
                    scrapes.append((time.time(), labels, [(name, own or "", float(value)) for name, own, value in samples]))
            time.sleep(CAPTURE_S)
        rows = [json.loads(line) for line in lines.read_text().splitlines()[:STEPS]]
    finally:
        stop(train, live.STOP_S)
    return Recording(scrapes, rows)  # fmt: skip


class Replay:
    """The recording, `factor` times slower, in a Prometheus."""

    def __init__(self, recording: Recording, step_s: float, scrape_s: float, folder: pathlib.Path):
        self.rows, self.start = recording.rows, recording.scrapes[0][0]
        self.factor = step_s / (sum(r["step_time_s"] for r in self.rows[1:]) / (len(self.rows) - 1))
        prometheus, promtool = tools.need("prometheus", "promtool")
        (folder / "replay.txt").write_text(self._text(recording, scrape_s))
        code, output = tools.call([promtool, "tsdb", "create-blocks-from", "openmetrics", str(folder / "replay.txt"), str(folder)])
        if code:
            raise RuntimeError(output)
        (folder / "prometheus.yml").write_text("{}")
        self.port = free_port()
        self.process = subprocess.Popen(
            [prometheus, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}",
             "--storage.tsdb.retention.time=100y", f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=error"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        if not wait(lambda: read_url(f"http://127.0.0.1:{self.port}/-/ready")[0] == 200, live.READY_S):
            raise RuntimeError("Prometheus is not ready")
        self.ends = self._ends(recording)

    def at(self, when: float) -> float:
        return EPOCH + (when - self.start) * self.factor

    def _value(self, name: str, value: float) -> float:
        if "timestamp_seconds" in name or name == "process_start_time_seconds":
            return self.at(value) if value else 0.0
        if re.search(r"_seconds(_total|_sum)?$", name):
            return value * self.factor
        return value / self.factor if "per_second" in name else value

    def _text(self, recording: Recording, scrape_s: float) -> str:
        families: dict[str, dict[str, list[str]]] = collections.defaultdict(lambda: collections.defaultdict(list))
        last: dict[str, float] = {}
        for when, target, samples in recording.scrapes:
            stamp = self.at(when)
            if stamp - last.get(target, -math.inf) < scrape_s:
                continue
            last[target] = stamp
            for name, own, value in samples:
                # A duration's buckets would have to be stretched; a build's own `run` is not the target's.
                if not name.endswith("_seconds_bucket") and name != "tactus_build_info":
                    labels = ",".join(x for x in (target, own) if x)
                    families[name][labels].append(f"{name}{{{labels}}} {self._value(name, value)!r} {stamp:.3f}")
        lines = [line for series in families.values() for samples in series.values() for line in samples]
        return "\n".join(lines) + "\n# EOF\n"

    def _ends(self, recording: Recording) -> dict[int, float]:
        found = {}
        for _, _, samples in recording.scrapes:
            values = {name: value for name, _, value in samples}
            if values.get("tactus_learner_step"):
                found[int(values["tactus_learner_step"])] = self.at(values["tactus_learner_last_step_timestamp_seconds"])
        return found

    def query(self, expr: str, when: float) -> list[tuple[dict, float]]:
        data = live.Prometheus.get(self, "query", query=expr, time=f"{when:.3f}")
        return [(x["metric"], float(x["value"][1])) for x in data["result"]]

    def stop(self) -> None:
        stop(self.process, live.STOP_S)


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


def expr_of(target: dict, values: dict[str, str]) -> str:
    """A target's query with the variables' values, and the recording rules written out."""
    records = {r.record: r.expr for r in rules.load() if r.record}
    expr = target["expr"]
    for name, value in values.items():
        expr = expr.replace(name, value)
    expr = re.sub(r"\$\{?[a-z]\w*\}?", ".+", expr)
    return promql.rewrite(expr, lambda s: f"({records[s.name]})" if s.name in records else f"{s.name}{{{s.matchers}}}")


def compare_run(replay: Replay, values: dict[str, str], done: int, rows: list[tuple]) -> None:
    expected = truths(replay.rows, done, replay.factor)
    when = replay.ends[done + 1] - 0.02 * replay.factor
    for panel in panels(run_dashboards.run()):
        for target in panel["targets"]:
            wanted = {legend: x for (title, legend), x in expected.items() if title == panel["title"]}
            if not any(re.fullmatch(re.sub(r"\{\{\w+\}\}", ".+", target["legendFormat"]), legend) for legend in wanted):
                continue
            for labels, seen in replay.query(expr_of(target, values), when):
                if (truth := expected.pop((panel["title"], legend_of(target, labels)), None)) is not None:
                    rows.append((f"Run: {panel['title']}", legend_of(target, labels), done, seen, truth))
    rows += [(f"Run: {title}", legend, done, None, x) for (title, legend), x in expected.items() if x is not None]


def compare_steps(replay: Replay, values: dict[str, str], rows: list[tuple]) -> None:
    """The dashboard over steps: each step's point. What no step of metrics.jsonl has (the policy's newest evaluation stays) is left."""
    last = max(replay.ends)
    for panel in panels(run_dashboards.compare()):
        seen = {int(labels["step"]): value for labels, value in replay.query(expr_of(panel["targets"][0], values), replay.ends[last])}
        key = COMPARED[panel["title"]]
        scale = replay.factor if key.endswith("_s") and "per_s" not in key else 1 / replay.factor if "per_s" in key else 1
        for row in replay.rows[1 : last - 1]:
            if row.get(key) is not None:
                rows.append((f"Compare: {panel['title']}", "quickstart", row["step"], seen.get(row["step"]), row[key] * scale))


def check(recording: Recording, name: str, folder: pathlib.Path, table: bool) -> list[str]:
    step_s, scrape_s = SPEEDS[name]
    replay = Replay(recording, step_s, scrape_s, folder)
    values = {"$__rate_interval": f"{max(4, int(4 * scrape_s))}s", "$__range": f"{int(step_s * STEPS * 2)}s", "$price": f"{PRICE:g}",
              "$__interval": f"{max(1, int(scrape_s))}s", "$window": f"{int(6 * step_s)}s", "$peak": f"{PEAK:g}"}  # fmt: skip
    try:
        slow = [n for n in sorted(replay.ends) if n + 1 in replay.ends and 2 < n < STEPS - 1
                and replay.ends[n + 1] - replay.ends[n] > 1.5 * scrape_s]  # fmt: skip
        rows: list[tuple] = []
        for done in slow[:: max(1, len(slow) // 5)]:
            compare_run(replay, values, done, rows)
        compare_steps(replay, values, rows)
        found = [f"steps of {name}: {panel}, {legend}, step {done}: shows {seen}, metrics.jsonl says {truth}"
                 for panel, legend, done, seen, truth in rows if not close(seen, truth)]  # fmt: skip
        truth = replay.rows[slow[0] - 1]["tokens_trained_per_s"] / replay.factor
        wrong = [x[1] for expr in WRONG[:1] for x in replay.query(expr, replay.ends[slow[0] + 1] - 0.02 * replay.factor)]
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
        recording = record(args.build.resolve(), pathlib.Path(folder))
        for i, name in enumerate(SPEEDS):
            (blocks := pathlib.Path(folder) / str(i)).mkdir()
            found += check(recording, name, blocks, args.table)
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
