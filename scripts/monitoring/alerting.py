"""Alertmanager's configuration: whom an alert reaches, and which alerts hide others."""

import re

from monitoring import rules, tools

PATH = tools.ROOT / "deploy/alertmanager/alertmanager.yml"
ROUTES = {"critical": "pager", "warning": "chat", "info": "log"}
# (alerts that fire for one run, those of them that must be hidden); Name@x fires for run x.
INHIBITED = [
    (["LearnerDown", "NoStepProgress", "NoActors", "StaleDropsHigh"], ["NoActors", "NoStepProgress"]),
    (["NoActors", "LearnerStarved", "NoStepProgress"], ["LearnerStarved", "NoStepProgress"]),
    (["CheckpointFailing", "CheckpointStale"], ["CheckpointStale"]),
    (["CertificateExpiresToday", "CertificateExpiring"], ["CertificateExpiring"]),
    (["LearnerDown@x", "NoStepProgress"], []),
]
_MATCHER = re.compile(r'(\w+)(=~|=)"([^"]*)"')


def problems(alerts: list[rules.Rule]) -> list[str]:
    (amtool,) = tools.need("amtool")
    code, output = tools.call([amtool, "check-config", str(PATH)])
    found = [output] if code else []
    for rule in alerts:
        _, output = tools.call(
            [
                amtool,
                "config",
                "routes",
                "test",
                f"--config.file={PATH}",
                f"alertname={rule.alert}",
                f"severity={rule.severity}",
                "run=a",
            ]
        )
        receivers = [line for line in output.splitlines() if line and not line.startswith("Warning")]
        if receivers != [ROUTES[rule.severity]]:
            found.append(f"{rule.alert} ({rule.severity}) reaches {receivers}, expected {ROUTES[rule.severity]}")
    inhibit_rules = tools.load_yaml(PATH)["inhibit_rules"]
    named = {
        name
        for r in inhibit_rules
        for m in r["source_matchers"] + r["target_matchers"]
        for name in _MATCHER.fullmatch(m)[3].split("|")
    }
    found += [f"inhibit_rules: no alert {name}" for name in sorted(named - {rule.alert for rule in alerts})]
    for names, expected in INHIBITED:
        hidden = inhibited(inhibit_rules, [_labels(name) for name in names])
        if hidden != expected:
            found.append(f"of {', '.join(names)} are hidden: {hidden}; expected {expected}")
    return found


def _labels(name: str) -> dict[str, str]:
    alert, _, run = name.partition("@")
    return {"alertname": alert, "run": run or "a", "instance": "i"}


def inhibited(inhibit_rules: list[dict], alerts: list[dict[str, str]]) -> list[str]:
    """Names of the alerts that others hide, sorted: as Alertmanager does it, a missing label counts as an empty one."""

    def matches(matchers: list[str], labels: dict[str, str]) -> bool:
        for label, operator, value in (_MATCHER.fullmatch(m).groups() for m in matchers):
            have = labels.get(label, "")
            if not (have == value if operator == "=" else re.fullmatch(value, have)):
                return False
        return True

    return sorted(
        target["alertname"]
        for target in alerts
        if any(
            matches(rule["source_matchers"], source)
            and matches(rule["target_matchers"], target)
            and source is not target
            and all(source.get(label, "") == target.get(label, "") for label in rule["equal"])
            for rule in inhibit_rules
            for source in alerts
        )
    )
