#!/usr/bin/env python3
"""Writes what is derived: Grafana's dashboards, and the PrometheusRule object for Kubernetes.

    python3 scripts/monitoring/make.py            writes the files
    python3 scripts/monitoring/make.py --check    fails if one of them is not what would be written
    python3 scripts/monitoring/make.py --docs https://git.example/tactus/blob/main    prints the PrometheusRule with links to there

The dashboards come from scripts/monitoring/dashboards.py, the PrometheusRule from deploy/prometheus/rules/.
"""

import argparse
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from monitoring.dashboards import all_dashboards  # noqa: E402
from monitoring.tools import ROOT  # noqa: E402

DASHBOARDS = ROOT / "deploy/grafana/dashboards"
RULES = ROOT / "deploy/prometheus/rules"
PROMETHEUS_RULE = ROOT / "k8s/platform/prometheusrule.yaml"
RULE_HEADER = """\
# Written by scripts/monitoring/make.py from deploy/prometheus/rules/: edit those, and run it.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: tactus
spec:
"""


def prometheus_rule() -> str:
    """The rule files' groups under an object's spec, text for text."""
    body = []
    for path in sorted(RULES.glob("*.rules.yml")):
        lines = path.read_text().splitlines()
        start = lines.index("groups:")
        body += lines[start + (1 if body else 0) :]
    return RULE_HEADER + "".join(f"  {line}\n" if line else "\n" for line in body)


def dashboard_text(board: dict) -> str:
    """A line for each panel, variable, mark and link, so that a change shows what it changes."""

    def text(value: object) -> str:
        if isinstance(value, dict) and value.keys() == {"list"}:
            return f'{{"list": {text(value["list"])}}}'
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return "[\n" + ",\n".join(json.dumps(entry) for entry in value) + "\n]"
        return json.dumps(value)

    return "{\n" + ",\n".join(f'"{key}": {text(value)}' for key, value in board.items()) + "\n}\n"


def derived_files() -> dict[pathlib.Path, str]:
    files = {DASHBOARDS / f"{d['uid']}.json": dashboard_text(d) for d in all_dashboards()}
    return files | {PROMETHEUS_RULE: prometheus_rule()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a file is stale")
    parser.add_argument("--docs", metavar="URL", help="print the PrometheusRule: runbooks are at URL/docs/OPERATIONS.md")
    args = parser.parse_args()
    if args.docs:
        print(prometheus_rule().replace("runbook_url: docs/", f"runbook_url: {args.docs.rstrip('/')}/docs/"), end="")
        return 0
    check = args.check
    files = derived_files()
    stale = [path for path, text in files.items() if not path.exists() or path.read_text() != text]
    extra = [path for path in DASHBOARDS.glob("*.json") if path not in files]
    if check:
        for path in stale + extra:
            print(
                f"{path.relative_to(ROOT)} is not what scripts/monitoring/make.py writes: run it and commit the result"
            )
        return 1 if stale or extra else 0
    for path in extra:
        path.unlink()
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files[path])
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
