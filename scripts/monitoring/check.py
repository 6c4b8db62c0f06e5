#!/usr/bin/env python3
"""Checks what watches Tactus: rules, dashboards, Alertmanager, compose file, runbook.

    python3 scripts/monitoring/check.py NAME --build build/release       NAME: one of

    rules          promtool accepts the rules and their tests; each alert has a case in which it fires and one in which
                   it is silent; names, severities and annotations are as they should be
    dashboards     the JSON is what scripts/monitoring/make.py writes; the rules of scripts/monitoring/lint.py hold;
                   promtool accepts every query; every metric of Tactus is shown somewhere
    types          the JSON has the types of Grafana's frontend (npm)
    alertmanager   amtool accepts the configuration; alerts reach whom they should and hide which they should
    compose        deploy/compose.yaml is complete and restrictive; promtool accepts the configurations of Prometheus
    runbook        docs/OPERATIONS.md has a section for each alert, and what it names exists

Every check is tried on seeded faults first. Exit code 1: something is wrong; 77: the check could not run, and says why.
"""

import argparse
import copy
import json
import pathlib
import re
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from monitoring import (
    alerting,
    compose,
    dashboards,
    grafana_types,
    lint,
    metrics,
    promql,
    rules,
    runbook,
    tools,
)  # noqa: E402


def check_rules(_: pathlib.Path) -> list[str]:
    (promtool,) = tools.need("promtool")
    files = [str(p) for p in sorted(rules.FOLDER.glob("*.rules.yml"))]
    found = []
    for command in (
        ["check", "rules", "--lint=all", "--lint-fatal", *files],
        ["test", "rules", *(str(p) for p in sorted(rules.TESTS.glob("*.test.yml")))],
    ):
        code, output = tools.call([promtool, *command])
        found += [output] if code else []
    loaded, tests, table = rules.load(), rules.load_tests(), metrics.load()
    records = {r.record for r in loaded if r.record}
    for rule in loaded:
        found += [
            f"{rule.record or rule.alert}: {x}" for x in lint.lint_expr(rule.expr, table, records, on_dashboard=False)
        ]
    return found + rules.shape_problems(loaded) + rules.uncovered(loaded, tests) + missed_gaps(loaded, tests)


def missed_gaps(loaded: list[rules.Rule], tests: list[dict]) -> list[str]:
    """Gaps that rules.uncovered() does not see: the tests without an alert's firing cases, then without its silent."""
    found = []
    for rule in (r for r in loaded if r.alert):
        for firing in (True, False):
            thinned = copy.deepcopy(tests)
            for case in thinned:
                case["alert_rule_test"] = [
                    t
                    for t in case.get("alert_rule_test", ())
                    if t["alertname"] != rule.alert or bool(t.get("exp_alerts")) != firing
                ]
            if not any(x.startswith(f"{rule.alert}:") for x in rules.uncovered([rule, *loaded], thinned)):
                found.append(f"self-test: {rule.alert} without its {'firing' if firing else 'silent'} case passes")
    return found


def check_dashboards(_: pathlib.Path) -> list[str]:
    (promtool,) = tools.need("promtool")
    table, records = metrics.load(), {r.record for r in rules.load() if r.record}
    code, output = tools.call([sys.executable, str(tools.ROOT / "scripts/monitoring/make.py"), "--check"])
    found = [output] if code else []
    boards = dashboards.all_dashboards()
    for board in boards:
        found += lint.lint(board, table, records)
    of_actors = next(b for b in boards if b["uid"] == "tactus-actors")
    for name, board in lint.seeded_violations(of_actors).items():
        if not any(name in problem for problem in lint.lint(board, table, records)):
            found.append(f"self-test: the seeded fault {name!r} passes")
    exprs = [t["expr"] for b in boards for p in b["panels"] for t in p.get("targets", ())]
    found += bad_queries(promtool, exprs)
    if not bad_queries(promtool, ["sum by (run (up)"]):
        found.append("self-test: promtool accepts a broken query")
    shown = {table.of_series(s.name).name for e in exprs for s in promql.selectors(e) if table.of_series(s.name)}
    return found + [f"{name} is on no dashboard" for name in sorted(set(table) - shown) if name.startswith("tactus_")]


def bad_queries(promtool: str, exprs: list[str]) -> list[str]:
    """What promtool says about queries, given to it as recording rules."""
    with tempfile.TemporaryDirectory(prefix="tactus_queries_") as folder:
        path = pathlib.Path(folder) / "queries.yml"
        listed = [{"record": f"q{i}", "expr": promql.substitute(expr)} for i, expr in enumerate(exprs)]
        path.write_text(json.dumps({"groups": [{"name": "queries", "rules": listed}]}))
        code, output = tools.call([promtool, "check", "rules", str(path)])
    return [output] if code else []


def check_types(_: pathlib.Path) -> list[str]:
    grafana_types.install()
    boards = dashboards.all_dashboards()
    seeds = grafana_types.seeded_errors(boards[0])
    answers = grafana_types.errors(boards + list(seeds.values()))
    found = [f"{b['uid']}: {message}" for b, messages in zip(boards, answers) for message in messages]
    return found + [f"self-test: {name!r} passes" for name, x in zip(seeds, answers[len(boards) :]) if not x]


def check_alertmanager(_: pathlib.Path) -> list[str]:
    return alerting.problems([r for r in rules.load() if r.alert])


def check_compose(build: pathlib.Path) -> list[str]:
    (promtool,) = tools.need("promtool")
    found = compose.problems(tools.load_yaml(compose.PATH), build)
    for name, document in compose.seeded_faults(lambda: tools.load_yaml(compose.PATH)).items():
        if not any(name in problem for problem in compose.problems(document, build)):
            found.append(f"self-test: the seeded fault {name!r} passes")
    for config in sorted((tools.ROOT / "deploy/prometheus").glob("*.yml")):
        code, output = tools.call([promtool, "check", "config", str(config)])
        found += [output] if code else []
    for provisioned in sorted((tools.ROOT / "deploy/grafana/provisioning").glob("*/*.yaml")):
        if tools.load_yaml(provisioned).get("apiVersion") != 1:
            found.append(f"{provisioned}: expected apiVersion: 1")
    listed = set(re.findall(r"dashboards/[\w-]+\.json", (tools.ROOT / "deploy/grafana/kustomization.yaml").read_text()))
    if listed != {f"dashboards/{b['uid']}.json" for b in dashboards.all_dashboards()}:
        found.append("deploy/grafana/kustomization.yaml does not list exactly the dashboards")
    return found


def check_runbook(build: pathlib.Path) -> list[str]:
    loaded, table = rules.load(), metrics.load()
    alerts, records = {r.alert for r in loaded if r.alert}, {r.record for r in loaded if r.record}
    text = runbook.PATH.read_text()
    found = runbook.problems(text, alerts, table, records, build)
    seeds = {
        "NoActors: no section": ("### NoActors\n", "### NoActor\n"),
        "NoActor: no such alert": ("### NoActors\n", "### NoActor\n"),
        "expected the parts": ("**Fix.**", "**Mend.**"),
        "has no --": ("tactus-actor --config", "tactus-actor --konfig"),
        "is no command": ("tactus check-config", "tactus check-conf"),
        "unknown metric": ("tactus_actors_connected", "tactus_actors_conected"),
        "unknown configuration field": ("`rollout.lease_timeout_s`", "`rollout.lease_timeouts_s`"),
        "does not exist": ("configs/quickstart_sft", "configs/quickstart_stf"),
        "unknown program": ("    promtool ", "    promtol "),
    }
    for name, (old, new) in seeds.items():
        before, mark, section = text.partition("## Runbook")
        if not any(
            name in x
            for x in runbook.problems(before + mark + section.replace(old, new), alerts, table, records, build)
        ):
            found.append(f"self-test: the seeded fault {name!r} passes")
    return found


CHECKS = {
    "rules": check_rules,
    "dashboards": check_dashboards,
    "types": check_types,
    "alertmanager": check_alertmanager,
    "compose": check_compose,
    "runbook": check_runbook,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=CHECKS, metavar="NAME")
    parser.add_argument("--build", type=pathlib.Path, required=True, help="build folder, as in build/release")
    args = parser.parse_args()
    tools.yaml_module()
    found = CHECKS[args.name](args.build.resolve())
    for problem in found:
        print(problem)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
