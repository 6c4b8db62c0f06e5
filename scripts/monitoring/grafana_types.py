"""Holds dashboards against the types that Grafana's own frontend is compiled with (npm's @grafana/schema)."""

import bisect
import json
import re

from base import npm
from monitoring import tools

PACKAGES = ["@grafana/schema@13.2.3", "typescript@5.9.3"]
CACHE = tools.ROOT / ".cache" / "grafana-types"
KINDS = {kind: kind.capitalize() for kind in ("timeseries", "stat", "heatmap", "table", "xychart")}
# What Prometheus' part of Grafana reads of an annotation stands in no type.
PROMETHEUS_FIELDS = ("expr", "titleFormat", "textFormat", "tagKeys", "useValueForTime")

# An enum of strings stands in JSON as its text. Options are complete only inside Grafana, which fills in defaults.
PRELUDE = """\
import type {Dashboard} from '@SCHEMA/dashboard/x/types.gen';
type Plain<T> = T extends string ? `${T}` : T extends (infer E)[] ? Plain<E>[] :
  T extends object ? {[K in keyof T]: Plain<T[K]>} : T;
type Some<T> = T extends (infer E)[] ? Some<E>[] : T extends object ? {[K in keyof T]?: Some<T[K]>} : T;
"""
SCHEMA = "./node_modules/@grafana/schema/dist/types/raw"


def install() -> None:
    """Puts the packages into the cache; leaves the process as skipped where there is no npm or no network."""
    npm.install(PACKAGES, CACHE, "the dashboards' types are")


def _imports() -> str:
    text = [PRELUDE]
    for kind, name in KINDS.items():
        path = f"@SCHEMA/composable/{kind}/panelcfg/x/types.gen"
        names = f"Options as {name}Options" + ("" if kind == "stat" else f", FieldConfig as {name}Field")
        text.append(f"import type {{{names}}} from '{path}';\n")
    return "".join(text).replace("@SCHEMA", SCHEMA)


def _constants(index: int, dashboard: dict) -> str:
    """TypeScript that compiles exactly if the dashboard, its panels' options and custom fields have their types."""
    marks = [{k: v for k, v in a.items() if k not in PROMETHEUS_FIELDS} for a in dashboard["annotations"]["list"]]
    typed = dashboard | {"annotations": {"list": marks}}
    text = [f"export const d{index}: Plain<Dashboard> = {json.dumps(typed, indent=1)};\n"]
    for panel in dashboard["panels"]:
        if panel["type"] not in KINDS:
            continue
        name, var = KINDS[panel["type"]], f"p{index}_{panel['id']}"
        text.append(f"export const {var}: Some<Plain<{name}Options>> = {json.dumps(panel['options'])};\n")
        custom = panel["fieldConfig"]["defaults"].get("custom")
        if custom is not None:
            text.append(f"export const {var}c: Some<Plain<{name}Field>> = {json.dumps(custom)};\n")
    return "".join(text)


def errors(dashboards: list[dict]) -> list[list[str]]:
    """What the TypeScript compiler says about each of them."""
    text, first_lines = _imports(), []
    for i, dashboard in enumerate(dashboards):
        first_lines.append(text.count("\n") + 1)
        text += _constants(i, dashboard)
    (CACHE / "check.ts").write_text(text)
    code, output = tools.call(
        [
            "node",
            "node_modules/typescript/bin/tsc",
            "--noEmit",
            "--strict",
            "--skipLibCheck",
            "--moduleResolution",
            "bundler",
            "--module",
            "esnext",
            "check.ts",
        ],
        cwd=CACHE,
    )
    found = [[] for _ in dashboards]
    for line, message in re.findall(r"^check\.ts\((\d+),\d+\): (error TS.*)$", output, re.MULTILINE):
        found[bisect.bisect_right(first_lines, int(line)) - 1].append(message)
    if code and not any(found):
        raise RuntimeError(f"tsc left with exit code {code}: {output}")
    return found


def seeded_errors(dashboard: dict) -> dict[str, dict]:
    """Copies of a dashboard, each with one mistake that errors() must find; the key says which."""

    def broken(change) -> dict:
        copy = json.loads(json.dumps(dashboard))
        copy["panels"] = [next(p for p in copy["panels"] if p["type"] == "timeseries")]
        change(copy, copy["panels"][0])
        return copy

    return {
        "schemaVersion is a text": broken(lambda d, p: d.update(schemaVersion="39")),
        "an unknown field of the dashboard": broken(lambda d, p: d.update(refreshh="10s")),
        "a panel's height is a text": broken(lambda d, p: p["gridPos"].update(h="8")),
        "a panel without width": broken(lambda d, p: p["gridPos"].pop("w")),
        "an unknown field of a panel": broken(lambda d, p: p.update(fieldConfigs={})),
        "an unknown option": broken(lambda d, p: p["options"].update(legends={})),
        "a wrong value of an option": broken(lambda d, p: p["options"]["tooltip"].update(mode="many")),
        "a wrong value of a custom field": broken(
            lambda d, p: p["fieldConfig"]["defaults"]["custom"].update(drawStyle="curve")
        ),
        "a wrong colour mode": broken(lambda d, p: p["fieldConfig"]["defaults"]["color"].update(mode="rainbow")),
    }
