"""Builders of Grafana's JSON: targets, panels, rows and a dashboard around them."""

import dataclasses
import itertools

from monitoring import promql

SCHEMA_VERSION = 39  # Grafana 10.4's; newer ones migrate it
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
NO_DATA = {
    "type": "special",
    "options": {"match": "null+nan", "result": {"text": "No data", "color": "text", "index": 0}},
}
TAG = "tactus"


def extra_matchers(name: str) -> list[str]:
    """Records and ALERTS keep only the run; a GPU belongs to a host, not to a run."""
    if name.startswith("DCGM_"):
        return []
    if ":" in name or name == "ALERTS":
        return ['run=~"$run"']
    return ['run=~"$run"', 'job=~"$job"', 'instance=~"$instance"']


@dataclasses.dataclass(frozen=True)
class Query:
    expr: str
    legend: str = ""
    form: str = "time_series"  # or table, heatmap
    instant: bool = False

    def json(self, ref: str) -> dict:
        target = {
            "refId": ref,
            "datasource": DATASOURCE,
            "expr": promql.narrow(self.expr, extra_matchers),
            "legendFormat": self.legend or "__auto",
            "format": self.form,
            "editorMode": "code",
        }
        return target | ({"instant": True, "range": False} if self.instant else {"instant": False, "range": True})


@dataclasses.dataclass(frozen=True)
class Panel:
    kind: str
    title: str
    unit: str
    about: str
    queries: list[Query]
    width: int = 8
    height: int = 8
    thresholds: list[tuple[float | None, str]] = dataclasses.field(default_factory=lambda: [(None, "green")])
    defaults: dict = dataclasses.field(default_factory=dict)
    options: dict = dataclasses.field(default_factory=dict)
    overrides: list[dict] = dataclasses.field(default_factory=list)
    transformations: list[dict] = dataclasses.field(default_factory=list)

    def json(self, panel_id: int, x: int, y: int) -> dict:
        names = sorted({s.name for q in self.queries for s in promql.selectors(q.expr)})
        refs = [chr(ord("A") + i) for i in range(len(self.queries))]
        panel = {
            "id": panel_id,
            "type": self.kind,
            "title": self.title,
            "description": f"{self.about}\n\nMetrics: {', '.join(f'`{n}`' for n in names)}.",
            "datasource": DATASOURCE,
            "gridPos": {"h": self.height, "w": self.width, "x": x, "y": y},
            "targets": [q.json(ref) for q, ref in zip(self.queries, refs)],
            "fieldConfig": {
                "defaults": {
                    "unit": self.unit,
                    "noValue": "No data",
                    "mappings": [NO_DATA],
                    "color": {"mode": "thresholds" if self.kind == "stat" else "palette-classic"},
                    "thresholds": {
                        "mode": "absolute",
                        "steps": [{"value": value, "color": color} for value, color in self.thresholds],
                    },
                }
                | self.defaults,
                "overrides": self.overrides,
            },
            "options": self.options,
        }
        return panel | ({"transformations": self.transformations} if self.transformations else {})


def line(title: str, unit: str, about: str, *queries: tuple[str, str], stacked: bool = False, **kwargs) -> Panel:
    """Lines over time of (expression, legend); a threshold beside the first is drawn as a dashed line."""
    custom = {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 30 if stacked else 5,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if len(kwargs.get("thresholds", [])) > 1 else "off"},
    }
    legend = {"displayMode": "table", "placement": "bottom", "showLegend": True, "calcs": ["lastNotNull", "mean"]}
    options = {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
    return Panel("timeseries", title, unit, about, _ranged(queries), defaults={"custom": custom}, options=options, **kwargs)


def _ranged(queries: tuple[tuple[str, str], ...]) -> list[Query]:
    return [Query(expr, legend) for expr, legend in queries]


def stat(title: str, unit: str, about: str, *queries: tuple[str, str], width: int = 3, **kwargs) -> Panel:
    """The newest value of each (expression, legend), coloured by thresholds."""
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "orientation": "auto",
        "textMode": "auto",
        "colorMode": "value",
        "graphMode": "area" if len(queries) == 1 else "none",
        "justifyMode": "auto",
    }
    return Panel("stat", title, unit, about, _ranged(queries), width=width, height=4, options=options, **kwargs)


def by_step(title: str, unit: str, about: str, expr: str, **kwargs) -> Panel:
    """A gauge of a step, by run, over the number of the step: runs of different speed and start lie over each other."""
    at = "count_values by (run) (\"step\", max by (run) (tactus_learner_step))"
    query = Query(f"last_over_time(({expr} * on (run) group_left (step) {at})[$__range:$__interval])", form="table", instant=True)
    transformations = [
        {"id": "organize", "options": {"excludeByName": {"Time": True}, "indexByName": {"run": 0, "step": 1, "Value": 2}}},
        {"id": "convertFieldType", "options": {"conversions": [{"targetField": "step", "destinationType": "number"}]}},
        {"id": "sortBy", "options": {"fields": {}, "sort": [{"field": "step"}]}},
        {"id": "partitionByValues", "options": {"fields": ["run"], "keepFields": False, "naming": {"asLabels": True}}},
    ]
    custom = {"show": "lines", "lineWidth": 1, "pointSize": {"fixed": 3}}
    options = {
        "mapping": "auto",
        "series": [],
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "single", "sort": "none"},
    }
    defaults = {"custom": custom, "displayName": "${__field.labels.run}"}
    return Panel(
        "xychart", title, unit, about, [query], defaults=defaults, options=options, transformations=transformations, **kwargs
    )


def heatmap(title: str, unit: str, about: str, expr: str, **kwargs) -> Panel:
    """Buckets of a histogram over time; `unit` is that of the buckets."""
    options = {
        "calculate": False,
        "cellGap": 1,
        "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64, "reverse": False, "exponent": 0.5},
        "yAxis": {"axisPlacement": "left", "reverse": False, "unit": unit},
        "rowsFrame": {"layout": "auto"},
        "tooltip": {"mode": "single", "yHistogram": False, "showColorScale": False},
        "legend": {"show": True},
        "showValue": "never",
    }
    return Panel("heatmap", title, unit, about, [Query(expr, "{{le}}", form="heatmap")], options=options, **kwargs)


def table(
    title: str,
    about: str,
    columns: list[tuple[str, str, str]],
    by: list[str],
    *,
    link: dict | None = None,
    hidden: tuple[str, ...] = (),
    **kwargs,
) -> Panel:
    """One row for each set of labels `by`; columns are (title, unit, expression), each grouped by these labels."""
    queries = [Query(expr, form="table", instant=True) for _, _, expr in columns]
    names = ["Value" if len(columns) == 1 else f"Value #{chr(ord('A') + i)}" for i in range(len(columns))]
    overrides = [
        {
            "matcher": {"id": "byName", "options": name},
            "properties": [{"id": "unit", "value": unit}] + [{"id": "decimals", "value": 1}] * (unit == "percentunit"),
        }
        for name, unit, _ in columns
    ]
    if link:
        overrides.append(
            {"matcher": {"id": "byName", "options": by[-1]}, "properties": [{"id": "links", "value": [link]}]}
        )
    organize = {
        "excludeByName": {"Time": True} | {name: True for name in hidden},
        "indexByName": {name: i for i, name in enumerate(by + names)},
        "renameByName": {name: title for name, (title, _, _) in zip(names, columns)},
    }
    transformations = [{"id": "merge", "options": {}}, {"id": "organize", "options": organize}]
    options = {"showHeader": True, "cellHeight": "sm"}
    return Panel(
        "table",
        title,
        "short",
        about,
        queries,
        defaults={"custom": {"minWidth": 80}},  # Grafana's 150 would hide the last columns of the runs' table beside a scroll bar
        overrides=overrides,
        transformations=transformations,
        options=options,
        **kwargs,
    )


def _query_variable(name: str, label: str, query: str, about: str) -> dict:
    return {
        "name": name,
        "label": label,
        "description": about,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "hide": 0,
        "options": [],
        "regex": "",
        "skipUrlSync": False,
    }


# What is typed in, with the value it has before: what a rate of what moves once a step is taken over, and two figures of
# the machines that no program knows.
SETTINGS = [
    ("docs", "Docs", "/public/tactus", "Where docs/OPERATIONS.md is served; deploy/compose.yaml mounts docs/ there."),
    ("window", "Window", "1h", "What numbers that move once a step are taken over: several steps."),
    ("price", "Price", "2", "Of a GPU's hour, in your currency."),
    ("peak", "Peak FLOP/s", "989e12", "Of one of the learner's GPUs, for the MFU; an H100's in bfloat16."),
]


def _setting(name: str, label: str, value: str, about: str) -> dict:
    return {
        "name": name,
        "label": label,
        "type": "textbox",
        "query": value,
        "hide": 2 if name == "docs" else 0,
        "options": [],
        "skipUrlSync": False,
        "current": {"selected": True, "text": value, "value": value},
        "description": about,
    }


def _variables() -> list[dict]:
    return [
        {
            "name": "datasource",
            "label": "Datasource",
            "type": "datasource",
            "query": "prometheus",
            "refresh": 1,
            "multi": False,
            "includeAll": False,
            "hide": 0,
            "options": [],
            "regex": "",
            "skipUrlSync": False,
            "description": "The Prometheus that scrapes the runs.",
        },
        _query_variable("run", "Run", "label_values(tactus_build_info, run)", "service.run_id of a run."),
        _query_variable("job", "Job", 'label_values(tactus_build_info{run=~"$run"}, job)', "learner or actor."),
        _query_variable(
            "instance", "Instance", 'label_values(tactus_build_info{run=~"$run",job=~"$job"}, instance)', "One process."
        ),
        *[_setting(*setting) for setting in SETTINGS],
    ]


def _links() -> list[dict]:
    base = {"asDropdown": False, "icon": "external link", "includeVars": True, "keepTime": True, "tooltip": ""}
    return [
        base | {"title": "Tactus", "type": "dashboards", "tags": [TAG], "targetBlank": False, "url": ""},
        base
        | {
            "title": "Runbook",
            "type": "link",
            "tags": [],
            "targetBlank": True,
            "url": "${docs}/OPERATIONS.md",
            "icon": "doc",
            "includeVars": False,
            "keepTime": False,
            "tooltip": "What each alert means and what to do",
        },
    ]


# What is marked in every chart: (name, colour, expression). One that ends with "* 1000" gives the moment itself, in ms.
MARKS = [
    ("Checkpoint", "green", "max by (run) (tactus_checkpoint_last_success_timestamp_seconds > 0) * 1000"),
    ("Learner started", "red", 'max by (run, instance) (process_start_time_seconds{job="learner"}) * 1000'),
    ("Held-out evaluation", "purple", 'max by (run) (changes(tactus_eval_pass_ratio{k="1"}[$__rate_interval]) > 0)'),
]


def _annotations() -> dict:
    builtin = {
        "builtIn": 1,
        "datasource": {"type": "grafana", "uid": "-- Grafana --"},
        "enable": True,
        "hide": True,
        "iconColor": "rgba(0, 211, 255, 1)",
        "name": "Annotations & Alerts",
        "type": "dashboard",
    }
    marks = [
        {
            "datasource": DATASOURCE,
            "enable": True,
            "hide": False,
            "iconColor": color,
            "name": name,
            "expr": promql.narrow(expr, extra_matchers),
            "titleFormat": name,
            "textFormat": "{{run}}",
            "tagKeys": "run",
            "useValueForTime": "true" if expr.endswith("* 1000") else "false",
        }
        for name, color, expr in MARKS
    ]
    return {"list": [builtin, *marks]}


def dashboard(uid: str, title: str, about: str, rows: list[tuple[str, list[Panel]]]) -> dict:
    """Panels flow from left to right under their row's header, 24 columns wide."""
    ids = itertools.count(1)
    panels, y = [], 0
    for header, content in rows:
        panels.append(
            {
                "id": next(ids),
                "type": "row",
                "title": header,
                "collapsed": False,
                "panels": [],
                "gridPos": {"h": 1, "w": 24, "x": 0, "y": y},
            }
        )
        y, x, line = y + 1, 0, 0
        for panel in content:
            if x + panel.width > 24:
                y, x, line = y + line, 0, 0
            panels.append(panel.json(next(ids), x, y))
            x, line = x + panel.width, max(line, panel.height)
        y += line
    return {
        "uid": uid,
        "title": title,
        "description": about,
        "tags": [TAG],
        "editable": False,
        "graphTooltip": 1,
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "refresh": "30s",
        "timezone": "browser",
        "fiscalYearStartMonth": 0,
        "liveNow": False,
        "weekStart": "",
        "time": {"from": "now-12h", "to": "now"},
        "timepicker": {},
        "annotations": _annotations(),
        "links": _links(),
        "templating": {"list": _variables()},
        "panels": panels,
    }
