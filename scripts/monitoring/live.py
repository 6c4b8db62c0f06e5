#!/usr/bin/env python3
"""Watches a real run with a real Prometheus: every query of the dashboards, rules and alerts must find data.

    python3 scripts/monitoring/live.py --build build/release [--keep DIR]

Trains the quick start's policy on this machine with two actors, lets Prometheus (1 s scrapes, the real rule files)
watch it, and asks it every expression of the dashboards and rules, with Grafana's variables replaced, and for every
series that they and the alerts select. An error, or no data but for the few expressions of NO_DATA_HERE, fails. Then it
does the same with each metric renamed, which must fail: the check itself is checked. About 15 s on two cores.
"""

import argparse
import json
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from base.local import free_port, read_url, stop, wait  # noqa: E402
from monitoring import dashboards, metrics, promql, rules, tools  # noqa: E402

READY_S, DATA_S, STOP_S = 180, 90, 60
ACTORS = 2
STOPPED = 130  # exit code of `tactus train` after Ctrl-C
SETTINGS = {
    "learner.steps": "100000",
    "eval.max_prompts": "4",
    "checkpoint.every_steps": "5",
    "learner.threads": "1",
    "algorithm.kl_beta": "0.001",  # a KL to the starting policy, for the panels that show it
    "rollout.difficulty_floor": "0.5",  # likewise, how many prompts are solved always or never
}

# Series that a run like this one has no value of, and why.
NO_DATA_HERE = {
    "DCGM_": "the exporter runs beside GPUs",
    "kube": "no cluster is here",
    "kueue_": "no cluster is here",
    "ALERTS": "no alert is pending or firing in a healthy run",
    "tactus_tls_certificate_expiry_timestamp_seconds > 0": "the run is in plaintext, as on any loopback",
    "tactus_checkpoint_last_upload_timestamp_seconds > 0": "the run copies no checkpoint elsewhere",
    "tactus_source_": "the run has no task.sources",
    "up == 0": "all processes answer",
    "tactus_environment_call_duration_seconds_bucket": "the task has a verifier, no server",
    "changes(tactus_eval_pass_ratio": "an evaluation may find what the one before found",
}


class Prometheus:
    """A server on loopback that scrapes the run's processes once a second and evaluates the rules as often."""

    def __init__(self, folder: pathlib.Path, targets: pathlib.Path):
        (program,) = tools.need("prometheus")
        self.port = free_port()
        (folder / "prometheus.yml").write_text(
            json.dumps(
                {
                    "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                    "rule_files": [f"{rules.FOLDER}/*.rules.yml"],
                    "scrape_configs": [
                        {"job_name": "tactus", "file_sd_configs": [{"files": [str(targets)], "refresh_interval": "1s"}]}
                    ],
                }
            )
        )
        self.log = (folder / "prometheus.log").open("w")
        self.process = subprocess.Popen(
            [
                program,
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/tsdb",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--log.level=warn",
            ],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def get(self, path: str, **parameters: str):
        """The `data` of an answer; an error of Prometheus' becomes a ValueError with its text."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        status, body = read_url(url, timeout_s=10)
        if status != 200:
            raise ValueError(json.loads(body).get("error", body) if body.startswith("{") else f"HTTP status {status}")
        return json.loads(body)["data"]

    def has_data(self, expr: str) -> bool:
        """Whether an instant query gives a sample that is a number."""
        data = self.get("query", query=expr)
        if data["resultType"] == "scalar":
            return data["result"][1] != "NaN"
        return any(sample["value"][1] != "NaN" for sample in data["result"])

    def ready(self) -> bool:
        return read_url(f"http://127.0.0.1:{self.port}/-/ready", timeout_s=10)[0] == 200

    def stop(self) -> None:
        stop(self.process, STOP_S)
        self.log.close()


def await_that(what: str, condition, seconds: float, process: subprocess.Popen):
    """The condition's first true value; fails when the time is over or the process has ended."""

    def holds():
        value = condition()
        if not value and process.poll() is not None:
            raise RuntimeError(f"{process.args[0]} ended with exit code {process.returncode} before {what}")
        return value

    if not (value := wait(holds, seconds, every_s=0.5)):
        raise RuntimeError(f"no {what} within {seconds} s")
    return value


def start_run(build: pathlib.Path, run: pathlib.Path, settings: dict[str, str] | None = None) -> subprocess.Popen:
    """`settings` of the configuration go over SETTINGS."""
    command = [str(build / "bin/tactus"), "train", "--config", "configs/quickstart.textproto", "--out", str(run)]
    command += ["--learners", "1", "--actors", str(ACTORS)]
    for field, value in (SETTINGS | (settings or {})).items():
        command += ["--set", f"{field}={value}"]
    with run.with_suffix(".log").open("w") as log:
        return subprocess.Popen(
            command,
            cwd=tools.ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def expressions() -> list[tuple[str, str]]:
    """(where, expression) of all panels and recording rules."""
    found = []
    for board in dashboards.all_dashboards():
        for panel in board["panels"]:
            found += [
                (f"{board['uid']}: {panel['title']}", promql.substitute(t["expr"])) for t in panel.get("targets", ())
            ]
        marks = (a for a in board["annotations"]["list"] if "expr" in a)
        found += [(f"{board['uid']}: {a['name']}", promql.substitute(a["expr"])) for a in marks]
    return found + [(rule.record, rule.expr) for rule in rules.load() if rule.record]


def alert_expressions() -> list[tuple[str, str]]:
    return [(rule.alert, rule.expr) for rule in rules.load() if rule.alert]


def excused(expr: str) -> bool:
    return any(part in re.sub(r"\{[^}]*\}", "", expr) for part in NO_DATA_HERE)


def problems(prometheus: Prometheus, asked: set[str], change=lambda expr: expr) -> list[str]:
    """What fails or has no data; what has data is added to `asked` and not asked for again.

    A healthy run's alerts are silent, so of those the series they select are asked for.
    """
    found = []

    def ask(where: str, expr: str) -> None:
        if expr in asked:
            return
        try:
            if prometheus.has_data(expr) or excused(expr):
                asked.add(expr)
            else:
                found.append(f"{where}: no data for {expr}")
        except ValueError as error:
            found.append(f"{where}: {error} in {expr}")

    for where, expr in expressions():
        expr = change(expr)
        ask(where, expr)
        if not excused(expr):
            for s in promql.selectors(expr):
                ask(where, s.text())
    for where, expr in alert_expressions():
        try:
            prometheus.get("query", query=change(expr))
        except ValueError as error:
            found.append(f"{where}: {error}")
        for s in promql.selectors(change(expr)):
            ask(where, s.text())
    return found


def undetected_renames(prometheus: Prometheus) -> list[str]:
    """Metrics whose new name the check would not notice: for each, what selects it is asked until one has no data."""
    table, found = metrics.load(), []
    every = [s for _, expr in expressions() + alert_expressions() for s in promql.selectors(expr)]
    for name in sorted({m.name for s in every if (m := table.of_series(s.name))}):
        renamed = (
            promql.rename(s.text(), name, name + "_renamed") for s in every if table.of_series(s.name) is table[name]
        )
        if all(prometheus.has_data(expr) for expr in renamed):
            found.append(name)
    return found


def rule_problems(prometheus: Prometheus) -> list[str]:
    """Rules that Prometheus could not evaluate, and critical alerts of a run that is well."""
    found = []
    for group in prometheus.get("rules")["groups"]:
        for rule in group["rules"]:
            if rule["health"] == "err":
                found.append(f"{rule['name']}: {rule['lastError']}")
            if rule["type"] == "alerting" and rule["state"] == "firing" and rule["labels"]["severity"] == "critical":
                found.append(f"{rule['name']} fires though the run is well")
    return found


def other_watchers(build: pathlib.Path, prometheus: Prometheus, targets: pathlib.Path) -> list[str]:
    """What else looks at these endpoints: the compose file's health check, and `tactus top`."""
    found = []
    check = tools.load_yaml(tools.ROOT / "deploy/compose.yaml")["services"]["learner"]["healthcheck"]["test"]
    for entry in json.loads(targets.read_text()):
        port = entry["targets"][0].rsplit(":", 1)[1]
        code, output = tools.call(["sh", "-c", check.replace("/8080", f"/{port}")])
        if code:
            found.append(
                f"the health check of {entry['labels']['instance']} in deploy/compose.yaml: exit code {code} {output}"
            )
    if tools.call(["sh", "-c", check.replace("/8080", f"/{free_port()}")])[0] == 0:
        found.append("self-test: the health check in deploy/compose.yaml passes where nothing listens")
    top = [str(build / "bin/tactus"), "top", "--once", "--prometheus", f"http://127.0.0.1:{prometheus.port}"]
    code, output = tools.call(top)
    return found + ([f"tactus top --prometheus: exit code {code}: {output}"] if code else [])


def watch(build: pathlib.Path, folder: pathlib.Path) -> list[str]:
    """Trains and watches; what is wrong with what was seen, or with how the training ended."""
    run, found = folder / "run", []
    train = start_run(build, run)
    try:
        targets = run / "logs/metrics-targets.json"
        await_that(
            "list of all processes",
            lambda: targets.exists() and len(json.loads(targets.read_text())) == 1 + ACTORS,
            READY_S,
            train,
        )
        prometheus = Prometheus(folder, targets)
        try:
            found += look(build, prometheus, targets, train)
        finally:
            prometheus.stop()
    except RuntimeError as error:
        found.append(str(error))
    finally:
        code = stop(train, STOP_S, signal.SIGINT)
    if found or code != STOPPED:
        found.append(f"tactus train ended with exit code {code}, expected {STOPPED}; the end of its log:")
        found += run.with_suffix(".log").read_text(errors="replace").splitlines()[-20:]
    return found


def look(build: pathlib.Path, prometheus: Prometheus, targets: pathlib.Path, train: subprocess.Popen) -> list[str]:
    await_that("answer of Prometheus", prometheus.ready, READY_S, prometheus.process)
    found: list[str] = []
    asked: set[str] = set()

    def complete() -> bool:
        found[:] = problems(prometheus, asked)
        return not found

    try:
        await_that("data for every expression", complete, DATA_S, train)
    except RuntimeError as error:
        return [str(error), *found]
    print(f"{len(expressions())} expressions of panels and records, {len(alert_expressions())} alerts: all have data")
    unnoticed = undetected_renames(prometheus)
    if not problems(prometheus, set(), lambda expr: promql.rename(expr, "tactus_reward_mean", "tactus_renamed")):
        unnoticed.append("tactus_reward_mean, with everything asked")
    found = rule_problems(prometheus) + other_watchers(build, prometheus, targets)
    return found + [f"nobody would notice that {name} was renamed" for name in unnoticed]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, required=True, help="build folder, as in build/release")
    parser.add_argument(
        "--keep", type=pathlib.Path, metavar="DIR", help="leave the run and Prometheus' data in a new DIR"
    )
    args = parser.parse_args()
    tools.need("prometheus")
    tools.yaml_module()
    if args.keep:
        args.keep.mkdir(parents=True)
        folder = args.keep.resolve()
    else:
        folder = pathlib.Path(tempfile.mkdtemp(prefix="tactus_monitor_"))
    try:
        found = watch(args.build.resolve(), folder)
    finally:
        if not args.keep:
            shutil.rmtree(folder, ignore_errors=True)
    for problem in found:
        print(problem)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
