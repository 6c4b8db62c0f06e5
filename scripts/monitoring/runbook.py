"""docs/OPERATIONS.md: each alert has its section, and what the section names exists."""

import pathlib
import re

from monitoring import lint, metrics, promql, rules
from monitoring.tools import ROOT, help_of

PATH = ROOT / rules.RUNBOOK
PARTS = ["Symptom.", "Likely causes.", "Look.", "Fix."]
PROGRAMS = {"tactus", "tactus-learner", "tactus-actor"}
# Programs that a section may call besides ours.
OTHERS = {"promtool", "curl", "grep", "tail", "head", "ls", "df", "openssl", "kubectl", "ps", "sha256sum", "cd", "cat"}


def sections(text: str) -> dict[str, str]:
    """The runbook's sections by alert: '### Name' headings below '## Runbook'."""
    body = re.search(r"^## Runbook\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    parts = re.split(r"^### (.+)\n", body[1] if body else "", flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))


def problems(text: str, alerts: set[str], table: metrics.Table, records: set[str], build: pathlib.Path) -> list[str]:
    found = []
    known = sections(text)
    found += [f"{alert}: no section in {rules.RUNBOOK}" for alert in sorted(alerts - set(known))]
    found += [f"{name}: no such alert" for name in sorted(set(known) - alerts)]
    config = "".join(p.read_text() for p in (ROOT / "proto").glob("*.proto"))
    for name, body in known.items():
        at = [body.find(f"**{part}**") for part in PARTS]
        if -1 in at or at != sorted(at):
            found.append(f"{name}: expected the parts {' '.join(PARTS)} in this order")
            continue
        commands = re.findall(r"^    (\S.*)$", body, re.MULTILINE)
        if not commands:
            found.append(f"{name}: no command to look with")
        for command in commands:
            found += [
                f"{name}: {problem} in `{command}`" for problem in _command_problems(command, table, records, build)
            ]
        for span in re.findall(r"`([^`\n]+)`", body):
            found += [f"{name}: {problem}" for problem in _span_problems(span, table, config)]
    return found


def _command_problems(command: str, table: metrics.Table, records: set[str], build: pathlib.Path) -> list[str]:
    found = []
    for part in re.split(r"\s(?:\||&&)\s", re.sub(r"'[^']*'", lambda m: m[0].replace("|", "\0"), command)):
        words = part.split()
        program = words[0]
        if program in PROGRAMS:
            found += _flag_problems(program, words, build)
        elif program.startswith("scripts/"):
            _, text = help_of("python3", str(ROOT / program))
            found += [f"{program} has no {w}" for w in words if w.startswith("--") and w.split("=")[0] not in text]
        elif program not in OTHERS:
            found.append(f"unknown program {program}")
        if program == "promtool":
            for expr in re.findall(r"'([^']*)'", part):
                found += lint.lint_expr(expr.replace("\0", "|"), table, records, on_dashboard=False)
    for path in re.findall(r"(?:scripts|deploy|configs|k8s|docs)/[\w./-]+", command):
        if not (ROOT / path).exists():
            found.append(f"{path} does not exist")
    return found


def _flag_problems(program: str, words: list[str], build: pathlib.Path) -> list[str]:
    code, text = help_of(str(build / "bin" / program), *words[1 : 2 if program == "tactus" else 1])
    if code:
        return [f"{' '.join(words[:2])} is no command"]
    known = set(re.findall(r"^\s+(--[a-z][a-z-]*)", text, re.MULTILINE))
    return [f"{program} has no {w}" for w in words if w.startswith("--") and w.split("=")[0] not in known]


def _span_problems(span: str, table: metrics.Table, config: str) -> list[str]:
    """Metrics and configuration fields that are named in a sentence."""
    found = []
    for s in promql.selectors(span):
        if s.name.startswith("tactus_") and table.of_series(s.name) is None:
            found.append(f"unknown metric {s.name}")
    match = re.fullmatch(
        r"(model|task|rollout|credit|optimizer|algorithm|learner|actor|checkpoint|eval|service)\.(\w+)", span
    )
    if match and not re.search(rf"\b{match[2]} = \d+", config):
        found.append(f"unknown configuration field {span}")
    return found
