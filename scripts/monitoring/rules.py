"""Reads the rule files and their tests, and says what is missing from either."""

import dataclasses
import re

from monitoring import promql
from monitoring.tools import ROOT, load_yaml

FOLDER = ROOT / "deploy/prometheus/rules"
TESTS = ROOT / "deploy/prometheus/tests"
SEVERITIES = {"critical", "warning", "info"}
RUNBOOK = "docs/OPERATIONS.md"


@dataclasses.dataclass(frozen=True)
class Rule:
    group: str
    record: str  # empty for an alert
    alert: str
    expr: str
    severity: str
    annotations: dict[str, str]


def load() -> list[Rule]:
    found = []
    for path in sorted(FOLDER.glob("*.rules.yml")):
        for group in load_yaml(path)["groups"]:
            for rule in group["rules"]:
                found.append(
                    Rule(
                        group["name"],
                        rule.get("record", ""),
                        rule.get("alert", ""),
                        rule["expr"],
                        rule.get("labels", {}).get("severity", ""),
                        rule.get("annotations", {}),
                    )
                )
    return found


def shape_problems(rules: list[Rule]) -> list[str]:
    """Names, severities and annotations."""
    found, names = [], [r.alert or r.record for r in rules]
    found += [f"{name}: there are two" for name in sorted({n for n in names if names.count(n) > 1})]
    for rule in rules:
        if rule.record:
            if not re.fullmatch(r"run:\w+:\w+_rate\d+[mh]|tactus:actors_desired(_unheld)?", rule.record):
                found.append(f"{rule.record}: expected level:metric:operations")
            continue
        if not re.fullmatch(r"([A-Z][A-Za-z]+)", rule.alert):
            found.append(f"{rule.alert}: expected CamelCase")
        if rule.severity not in SEVERITIES:
            found.append(f"{rule.alert}: severity {rule.severity!r} is none of {', '.join(sorted(SEVERITIES))}")
        for key in ("summary", "description", "runbook_url"):
            if not rule.annotations.get(key):
                found.append(f"{rule.alert}: no {key}")
        if rule.annotations.get("runbook_url") != f"{RUNBOOK}#{rule.alert.lower()}":
            found.append(f"{rule.alert}: expected runbook_url {RUNBOOK}#{rule.alert.lower()}")
    return found


def load_tests() -> list[dict]:
    return [case for path in sorted(TESTS.glob("*.test.yml")) for case in load_yaml(path)["tests"]]


def uncovered(rules: list[Rule], tests: list[dict]) -> list[str]:
    """Alerts without a case in which they fire or one in which they are silent, and records without a number.

    A case counts only if it has all series that the alert, through the records it uses, is made of: an alert without
    data is silent too.
    """
    by_record = {r.record: r for r in rules if r.record}
    found = []
    for rule in rules:
        needed = _series_behind(rule.expr, by_record)
        if rule.record:
            tested = [t["expr"] for case in tests for t in case.get("promql_expr_test", ()) if t.get("exp_samples")]
            if not any(s.name == rule.record for expr in tested for s in promql.selectors(expr)):
                found.append(f"{rule.record}: no test expects a number of it")
            continue
        fires = silent = False
        for case in tests:
            present = {s.name for i in case["input_series"] for s in promql.selectors(i["series"])}
            for test in case.get("alert_rule_test", ()):
                if test["alertname"] == rule.alert and needed <= present:
                    fires |= bool(test.get("exp_alerts"))
                    silent |= not test.get("exp_alerts")
        found += [f"{rule.alert}: no test in which it fires"] * (not fires)
        found += [f"{rule.alert}: no test with its series in which it is silent"] * (not silent)
    return found


def _series_behind(expr: str, by_record: dict[str, Rule]) -> set[str]:
    names = set()
    for s in promql.selectors(expr):
        names |= _series_behind(by_record[s.name].expr, by_record) if s.name in by_record else {s.name}
    return names
