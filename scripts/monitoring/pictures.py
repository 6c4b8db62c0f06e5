#!/usr/bin/env python3
"""Draws the dashboards Run, Compare runs and Fleet as Grafana's frontend would, from a real Prometheus: docs/img/dashboard-*.png.

    python3 scripts/monitoring/pictures.py --build build/release [--out docs/img] [--again]

There is no Grafana server among packages. So two runs of the quick start are trained, one after the other (credit from
attention, and without), what they expose is replayed into Prometheus with steps of ten minutes, each panel's queries are asked
of it as Grafana asks, and scripts/monitoring/pictures.jsx draws the answers with the charts, values and tables of npm's
@grafana/ui (0.6 GB into .cache), of the version that the dashboards are written for, in Chromium. --again draws what the call
before recorded. By hand, some minutes.
"""

import argparse
import json
import math
import pathlib
import re
import shutil
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from base import npm  # noqa: E402
from base.local import skip  # noqa: E402
from monitoring import run_dashboards, tools  # noqa: E402
from monitoring.replay import Recording, Replay, Stretched, expression, record  # noqa: E402

PACKAGES = ["@grafana/ui@10.4.19", "@grafana/data@10.4.19", "react@18.2.0", "react-dom@18.2.0", "esbuild@0.25.0"]
CACHE = tools.ROOT / ".cache" / "grafana-pictures"
INSTALL_S, WIDTH_PX, POINTS = 900, 1400, 300
STEPS, CAPTURE_S, STEP_S, SCRAPE_S = 40, 0.2, 600, 15
RUNS = {"coupled": "COUPLED", "uniform": "UNIFORM"}  # service.run_id and credit.strategy
PAGE = """<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="pictures.css">
<body style="margin:0"><div id="board"></div><script>window.PICTURE = {data}</script><script src="pictures.js"></script>
"""


def values(interval_s: float, range_s: float) -> dict[str, str]:
    """Of the dashboards' variables; Grafana's own as its Prometheus part computes them."""
    return {"$__rate_interval": f"{math.ceil(max(interval_s + SCRAPE_S, 4 * SCRAPE_S))}s", "$__range": f"{math.ceil(range_s)}s",
            "$__interval": f"{math.ceil(interval_s)}s", "$window": "1h", "$price": "2", "$peak": "989e12"}  # fmt: skip


def number(value: float) -> float | None:
    return value if math.isfinite(value) else None  # JSON has no NaN


def answers(replay: Replay, panel: dict, runs: str, start: float, end: float, step: float) -> list[list[dict]]:
    """Of each of its targets: the series with their labels and samples."""
    found = []
    for target in panel["targets"]:
        expr = expression(target["expr"].replace("$run", runs), values(step, end - start))
        if target["instant"]:
            series = [(labels, [(end, value)]) for labels, value in replay.query(expr, end)]
        else:
            series = replay.query_range(expr, start, end, step)
        found.append([{"labels": {k: v for k, v in labels.items() if k != "__name__"},
                       "values": [(when, number(value)) for when, value in samples]} for labels, samples in series
                      if re.fullmatch(runs, labels.get("run", runs))])  # written out, a recording rule is of all runs
    return found


def marks(replay: Replay, board: dict, runs: str, start: float, end: float, step: float) -> list[dict]:
    """Where annotations stand: at the value, where that is the moment itself, else at the sample."""
    found = []
    for mark in board["annotations"]["list"]:
        if "expr" not in mark:
            continue
        expr = expression(mark["expr"].replace("$run", runs), values(step, end - start))
        series = [samples for _, samples in replay.query_range(expr, start, end, step)]
        at_value = mark["useValueForTime"] == "true"
        times = {round(value if at_value else when * 1000) for samples in series for when, value in samples}
        found.append({"color": mark["iconColor"], "times": sorted(times)})
    return found


def draw(replay: Replay, board: dict, runs: str, end: float, hours: float, out: pathlib.Path) -> None:
    start, step = end - hours * 3600, hours * 3600 / POINTS
    data = {"board": board, "from": round(start * 1000), "to": round(end * 1000), "step": round(step * 1000), "width": WIDTH_PX,
            "answers": {p["id"]: answers(replay, p, runs, start, end, step) for p in board["panels"] if p.get("targets")},
            "marks": marks(replay, board, runs, start, end, step)}  # fmt: skip
    text = json.dumps(data, allow_nan=False).replace("</", "<\\/")
    (CACHE / "page.html").write_text(PAGE.replace("{data}", text))
    height = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in board["panels"]) * 34 + 52
    with tempfile.TemporaryDirectory(prefix="tactus_browser_") as profile:
        browser = shutil.which("chromium") or shutil.which("google-chrome") or skip("Chromium is not installed")
        code, log = tools.call([browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}",
                                f"--window-size={WIDTH_PX},{height}", "--run-all-compositor-stages-before-draw", "--enable-logging=stderr",
                                "--virtual-time-budget=20000", f"--screenshot={out}", f"file://{CACHE}/page.html"])  # fmt: skip
    if code or "Uncaught" in log:
        raise RuntimeError(f"{board['title']}: {log}")
    print(f"wrote {out}")


def bundle() -> None:
    npm.install(PACKAGES, CACHE, "the dashboards' pictures are", INSTALL_S)
    shutil.copy(tools.ROOT / "scripts/monitoring/pictures.jsx", CACHE)
    code, output = tools.call(["node_modules/.bin/esbuild", "pictures.jsx", "--bundle", "--outfile=pictures.js", "--minify",
                               '--define:process.env.NODE_ENV="production"', "--define:global=window", "--log-level=warning"],
                              cwd=CACHE)  # fmt: skip
    if code:
        raise RuntimeError(output)


def recorded(build: pathlib.Path, run: str, strategy: str, again: bool) -> Recording:
    file = CACHE / f"{run}.json"
    if not again:
        settings = {"service.run_id": run, "credit.strategy": strategy, "eval.max_prompts": "64", "eval.every_steps": "10",
                    "checkpoint.every_steps": "20", "learner.steps": str(STEPS * 2), "rollout.difficulty_floor": "1"}  # fmt: skip
        with tempfile.TemporaryDirectory(prefix="tactus_pictures_") as folder:
            recording = record(build, pathlib.Path(folder) / run, STEPS, CAPTURE_S, settings)
        file.write_text(json.dumps([recording.scrapes, recording.rows]))
    return Recording(*json.loads(file.read_text()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, required=True, help="build folder, as in build/release")
    parser.add_argument("--out", type=pathlib.Path, default=tools.ROOT / "docs" / "img")
    parser.add_argument("--again", action="store_true")
    args = parser.parse_args()
    tools.need("prometheus", "promtool")
    bundle()
    with tempfile.TemporaryDirectory(prefix="tactus_pictures_") as name:
        folder = pathlib.Path(name)
        build = args.build.resolve()
        runs = [Stretched(recorded(build, run, strategy, args.again), STEP_S) for run, strategy in RUNS.items()]
        (folder / "prometheus").mkdir()
        replay = Replay(runs, SCRAPE_S, folder / "prometheus")
        try:
            end = min(run.ends[max(run.ends)] for run in runs) - STEP_S / 2
            hours = STEPS * STEP_S / 3600
            out = args.out.resolve()
            draw(replay, run_dashboards.run(), "coupled", end, hours, out / "dashboard-run.png")
            draw(replay, run_dashboards.compare(), ".+", end, hours, out / "dashboard-compare.png")
            draw(replay, run_dashboards.fleet(), ".+", end, hours, out / "dashboard-fleet.png")
        finally:
            replay.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
