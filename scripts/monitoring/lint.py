"""Rules for dashboards: those of Grafana's dashboard-linter that apply, and our own.

dashboard-linter's carry its names (template-datasource-rule and so on). Ours: names and labels exist in
docs/metrics.json, stable uids, a description that names its metrics, mappings for missing data, panels that don't
overlap.
"""

import json
import re

from monitoring import metrics, promql
from monitoring.panels import SETTINGS, extra_matchers

PANEL_KINDS = {"timeseries", "stat", "heatmap", "table", "xychart", "row"}
VARIABLES = ["datasource", "run", "job", "instance", *(name for name, *_ in SETTINGS)]
# What a learner counts when a step ends: none in most intervals of a run whose steps take minutes, and far too much in one.
ONCE_A_STEP = re.compile(
    r"tactus_(learner_(steps|tokens|model_flops)_total|learner_(step_duration|phase)_seconds|groups_total|trajectory_verdicts"
    r"|completion_tokens|completions_truncated|rhythm_completions|trajectories_trained|trajectory_staleness|weight_publish"
    r"|weight_load|weight_transfer|checkpoint_duration|checkpoints_total)"
)
_RATED = re.compile(r"\b(?:rate|increase|irate)\s*\(\s*$")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"')


def lint(dashboard: dict, table: metrics.Table, records: set[str]) -> list[str]:
    """What is wrong with a dashboard, each with its rule's name; `records` are the names of the recording rules."""
    found = _lint_frame(dashboard, table, records)
    used: dict[tuple[int, int], str] = {}
    for panel in dashboard["panels"]:
        where = f"{dashboard.get('uid')}: {panel.get('title') or panel.get('id')}"
        found += [f"{where}: {problem}" for problem in _lint_panel(panel, table, records)]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"]):
            for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"]):
                if x >= 24 or (x, y) in used:
                    found.append(f"{where}: grid: overlaps {used.get((x, y), 'the right edge')}")
                    break
                used[x, y] = panel["title"]
            else:
                continue
            break
    return found


def _lint_frame(dashboard: dict, table: metrics.Table, records: set[str]) -> list[str]:
    where, found = dashboard.get("uid"), []
    if not re.fullmatch(r"tactus-[a-z]+", dashboard.get("uid") or ""):
        found.append(f"{where}: uid: expected tactus-<word>, so that links last")
    if dashboard.get("editable") is not False:
        found.append(f"{where}: uneditable-dashboard-rule: expected editable: false")
    if not dashboard.get("description"):
        found.append(f"{where}: description: the dashboard has none")
    if [v["name"] for v in dashboard["templating"]["list"]] != VARIABLES:
        found.append(f"{where}: template-*-rule: expected the variables {', '.join(VARIABLES)}")
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query" and not (
            variable["datasource"]["uid"] == "${datasource}"
            and variable["multi"]
            and variable["includeAll"]
            and variable["allValue"] == ".+"
            and variable["refresh"] == 2
            and variable.get("label")
        ):
            found.append(
                f"{where}: template-*-rule: ${variable['name']} needs the datasource, multi, all (.+), refresh, label"
            )
    marks = [a for a in dashboard["annotations"]["list"] if "expr" in a]
    if not marks:
        found.append(f"{where}: annotations: none")
    for mark in marks:
        found += [f"{where}: annotation {mark['name']}: {x}" for x in lint_expr(mark["expr"], table, records)]
    links = {link["type"]: link for link in dashboard["links"]}
    if "dashboards" not in links or "OPERATIONS.md" not in links.get("link", {}).get("url", ""):
        found.append(f"{where}: links: expected one to the other dashboards and one to the runbook")
    return found


def _lint_panel(panel: dict, table: metrics.Table, records: set[str]) -> list[str]:
    if panel["type"] not in PANEL_KINDS:
        return [f"panel-kind: {panel['type']} is none of {', '.join(sorted(PANEL_KINDS))}"]
    found = [] if panel.get("title") else ["panel-title-description-rule: no title"]
    if panel["type"] == "row":
        return found
    if panel.get("datasource", {}).get("uid") != "${datasource}":
        found.append("panel-datasource-rule: expected ${datasource}")
    defaults = panel["fieldConfig"]["defaults"]
    if not defaults.get("unit"):
        found.append("panel-units-rule: no unit")
    if not defaults.get("thresholds", {}).get("steps"):
        found.append("thresholds: none")
    if not defaults.get("noValue") or not any(m["type"] == "special" for m in defaults.get("mappings", [])):
        found.append("no-data: no text for a missing value")
    if not panel.get("targets"):
        return found + ["panel-no-targets-rule: no query"]
    description = panel.get("description") or ""
    if not description:
        found.append("panel-title-description-rule: no description")
    for target in panel["targets"]:
        if target.get("datasource", {}).get("uid") != "${datasource}":
            found.append(f"target-datasource-rule: {target['refId']}: expected ${{datasource}}")
        found += [f"{problem} in {target['expr']}" for problem in lint_expr(target["expr"], table, records)]
        for s in promql.selectors(target["expr"]):
            if f"`{s.name}`" not in description:
                found.append(f"description: {s.name} is not named")
    return found


def lint_expr(expr: str, table: metrics.Table, records: set[str], on_dashboard: bool = True) -> list[str]:
    """Names, labels and matchers of an expression; dashboards also need the variables in it."""
    found, selectors = [], promql.selectors(expr)
    if not selectors:
        found.append("target-promql-rule: no metric")
    for s in selectors:
        found += _lint_selector(expr, s, table, records)
        if not on_dashboard:
            continue
        for matcher in extra_matchers(s.name):
            if matcher not in s.matchers:
                found.append(f"target-job-rule, target-instance-rule: {s.name} lacks {matcher}")
        if s.range and not re.fullmatch(r"\[\$(__rate_interval|__range|window)\]", s.range):
            found.append(f"target-rate-interval-rule: {s.name}{s.range}")
        if s.range == "[$__rate_interval]" and ONCE_A_STEP.match(s.name):
            found.append(f"once-a-step: {s.name} moves when a step ends: take it over $window, or show the step's gauge")
    return found


def _lint_selector(expr: str, s: promql.Selector, table: metrics.Table, records: set[str]) -> list[str]:
    found = []
    if ":" in s.name:
        return [] if s.name in records else [f"unknown record {s.name}"]
    if not s.name.startswith(("tactus_", "process_")):
        return []
    metric = table.of_series(s.name)
    if metric is None:
        return [f"unknown metric {s.name}: docs/metrics.json lacks it"]
    is_counter = metric.type == "counter" or s.name.endswith(metrics.SUFFIXES)
    if is_counter and bool(s.range) != bool(_RATED.search(expr[: s.start])):
        found.append(f"target-counter-agg-rule: range and rate() or increase() belong together at {s.name}")
    if s.range and not is_counter and _RATED.search(expr[: s.start]):
        found.append(f"target-counter-agg-rule: {s.name} is a gauge")
    for label, operator, value in _MATCHER.findall(s.matchers):
        known = metric.labels.get(label)
        if known is None and label not in metrics.TARGET_LABELS | {"le"}:
            found.append(f"{s.name} has no label {label}")
        elif known and "$" not in value:
            values = value.split("|") if operator in ("=~", "!~") else [value]
            found += [f"{s.name} has no {label}={v!r}" for v in values if v not in known]
    return found


def seeded_violations(dashboard: dict) -> dict[str, dict]:
    """Copies of the actors' dashboard, each with one fault that lint() must name; the key is part of what it must say."""

    def broken(change) -> dict:
        copy = json.loads(json.dumps(dashboard))
        panels = (p for p in copy["panels"] if p["type"] == "timeseries")
        change(copy, next(p for p in panels if "rate(tactus_actor_tokens_total" in p["targets"][0]["expr"]))
        return copy

    def query(old: str, new: str):
        def change(_, panel):
            target = panel["targets"][0]
            assert old in target["expr"], (old, target["expr"])
            target["expr"] = target["expr"].replace(old, new)

        return broken(change)

    defaults = lambda panel: panel["fieldConfig"]["defaults"]  # noqa: E731
    return {
        "uid": broken(lambda d, p: d.update(uid="x1")),
        "uneditable-dashboard-rule": broken(lambda d, p: d.update(editable=True)),
        "template-*-rule: expected": broken(lambda d, p: d["templating"]["list"].pop(3)),
        "template-*-rule: $": broken(lambda d, p: d["templating"]["list"][1].update(allValue=".*")),
        "links": broken(lambda d, p: d["links"].pop()),
        "annotation Checkpoint": broken(lambda d, p: d["annotations"]["list"][1].update(expr="max(tactus_no_such)")),
        "grid": broken(lambda d, p: p["gridPos"].update(y=0)),
        "panel-kind": broken(lambda d, p: p.update(type="graph")),
        "no title": broken(lambda d, p: p.update(title="")),
        "no description": broken(lambda d, p: p.update(description="")),
        "panel-datasource-rule": broken(lambda d, p: p.update(datasource={"type": "prometheus", "uid": "abc"})),
        "target-datasource-rule": broken(lambda d, p: p["targets"][0].update(datasource={"uid": "abc"})),
        "panel-units-rule": broken(lambda d, p: defaults(p).pop("unit")),
        "thresholds": broken(lambda d, p: defaults(p).pop("thresholds")),
        "no-data": broken(lambda d, p: defaults(p).pop("noValue")),
        "panel-no-targets-rule": broken(lambda d, p: p.update(targets=[])),
        "target-promql-rule": query("tactus_", "other_"),
        "target-job-rule": query('job=~"$job"', 'job=~".+"'),
        "target-rate-interval-rule": query("$__rate_interval", "5m"),
        "once-a-step": query("tactus_actor_tokens_total", "tactus_learner_tokens_total"),
        "target-counter-agg-rule": query("rate(", "avg_over_time("),
        "unknown metric": query("tactus_actor_tokens_total", "tactus_actor_tokns_total"),
        "has no kind": query('kind="completion"', 'kind="completions"'),
        "has no label": query('kind="completion"', 'sort="completion"'),
    }
