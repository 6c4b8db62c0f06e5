"""Records what a run's processes expose, and replays it into a real Prometheus at other step times."""

import collections
import dataclasses
import json
import math
import pathlib
import re
import subprocess
import time

from base.local import free_port, read_url, stop, wait
from monitoring import live, promql, rules, tools

STEP_S = 60  # at most, on a busy machine
EPOCH = 1_700_000_000.0
_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")


@dataclasses.dataclass
class Recording:
    scrapes: list[tuple[float, str, list[tuple[str, str, float]]]]  # when, target's labels, samples
    rows: list[dict]  # of metrics.jsonl


def record(build: pathlib.Path, run: pathlib.Path, steps: int, every_s: float, settings: dict[str, str] | None = None) -> Recording:
    """Trains so many steps of the quick start, and scrapes all processes so often."""
    scrapes, lines = [], run / "metrics.jsonl"
    train = live.start_run(build, run, settings)
    try:
        targets = run / "logs/metrics-targets.json"
        live.await_that("list of all processes",
                        lambda: targets.exists() and len(json.loads(targets.read_text())) == 1 + live.ACTORS, live.READY_S, train)
        listed = json.loads(targets.read_text())
        until = time.monotonic() + STEP_S * steps
        while not lines.exists() or lines.read_text().count("\n") < steps:
            if train.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"no {steps} steps within {STEP_S * steps} s")
            for entry in listed:
                status, text = read_url(f"http://{entry['targets'][0]}/metrics")
                labels = ",".join(f'{k}="{v}"' for k, v in entry["labels"].items())
                samples = [m.groups() for line in text.splitlines() if (m := _SAMPLE.match(line))]
                if status == 200:
                    scrapes.append((time.time(), labels, [(name, own or "", float(value)) for name, own, value in samples]))
            time.sleep(every_s)
        rows = [json.loads(line) for line in lines.read_text().splitlines()[:steps]]
    finally:
        stop(train, live.STOP_S)
    return Recording(scrapes, rows)


class Stretched:
    """A recording whose steps last `step_s` on average: every duration and moment in it is stretched."""

    def __init__(self, recording: Recording, step_s: float):
        self.recording, self.rows, self.start = recording, recording.rows, recording.scrapes[0][0]
        self.factor = step_s / (sum(r["step_time_s"] for r in self.rows[1:]) / (len(self.rows) - 1))
        self.ends = self._ends()

    def at(self, when: float) -> float:
        return EPOCH + (when - self.start) * self.factor

    def _value(self, name: str, value: float) -> float:
        if "timestamp_seconds" in name or name == "process_start_time_seconds":
            return self.at(value) if value else 0.0
        if re.search(r"_seconds(_total|_sum)?$", name):
            return value * self.factor
        return value / self.factor if "per_second" in name else value

    def add_to(self, families: dict[str, dict[str, list[str]]], scrape_s: float) -> None:
        """Its samples as OpenMetrics' lines, by name and series; scraped as often as `scrape_s` says."""
        last: dict[str, float] = {}
        for when, target, samples in self.recording.scrapes:
            stamp = self.at(when)
            if stamp - last.get(target, -math.inf) < scrape_s:
                continue
            last[target] = stamp
            for name, own, value in samples:
                # A duration's buckets would have to be stretched; a build's own `run` is not the target's.
                if not name.endswith("_seconds_bucket") and name != "tactus_build_info":
                    labels = ",".join(x for x in (target, own) if x)
                    families[name][labels].append(f"{name}{{{labels}}} {self._value(name, value)!r} {stamp:.3f}")

    def _ends(self) -> dict[int, float]:
        found = {}
        for _, _, samples in self.recording.scrapes:
            values = {name: value for name, _, value in samples}
            if values.get("tactus_learner_step"):
                found[int(values["tactus_learner_step"])] = self.at(values["tactus_learner_last_step_timestamp_seconds"])
        return found


class Replay:
    """A Prometheus that has scraped these runs."""

    def __init__(self, runs: list[Stretched], scrape_s: float, folder: pathlib.Path):
        prometheus, promtool = tools.need("prometheus", "promtool")
        families: dict[str, dict[str, list[str]]] = collections.defaultdict(lambda: collections.defaultdict(list))
        for run in runs:
            run.add_to(families, scrape_s)
        lines = [line for series in families.values() for samples in series.values() for line in samples]
        (folder / "replay.txt").write_text("\n".join(lines) + "\n# EOF\n")
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

    def query(self, expr: str, when: float) -> list[tuple[dict, float]]:
        data = live.Prometheus.get(self, "query", query=expr, time=f"{when:.3f}")
        return [(x["metric"], float(x["value"][1])) for x in data["result"]]

    def query_range(self, expr: str, start: float, end: float, step: float) -> list[tuple[dict, list[tuple[float, float]]]]:
        data = live.Prometheus.get(self, "query_range", query=expr, start=f"{start:.3f}", end=f"{end:.3f}", step=f"{step:.3f}")
        return [(x["metric"], [(float(when), float(value)) for when, value in x["values"]]) for x in data["result"]]

    def stop(self) -> None:
        stop(self.process, live.STOP_S)


def expression(expr: str, values: dict[str, str]) -> str:
    """A dashboard's query with the variables' values, and the recording rules written out."""
    records = {r.record: r.expr for r in rules.load() if r.record}
    for name, value in values.items():
        expr = expr.replace(name, value)
    expr = re.sub(r"\$\{?[a-z]\w*\}?", ".+", expr)
    return promql.rewrite(expr, lambda s: f"({records[s.name]})" if s.name in records else f"{s.name}{{{s.matchers}}}")
