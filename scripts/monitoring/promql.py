"""Just enough of PromQL to find, narrow and rename the series that an expression selects."""

import dataclasses
import re

# All that our expressions select from: our metrics and records, the process's, Prometheus' own, the GPU exporter's, the cluster's.
_SELECTOR = re.compile(
    r'(?<![\w:"])(?P<name>(?:tactus|run)(?::\w+)+|tactus_\w+|process_\w+|DCGM_\w+|kube(?:let)?_\w+|kueue_\w+|ALERTS|up)\b(?!\s*\()'
    r"(?P<braces>\{(?P<matchers>(?:[^{}\"]|\"(?:[^\"\\]|\\.)*\")*)\})?(?P<range>\[[^\]]*\])?"
)
_LABEL_LIST = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
# What Grafana puts in place of its variables, as the checks do.
VARIABLES = {
    "$__rate_interval": "10s",
    "$__range": "60s",
    "$__interval": "10s",
    "$window": "30s",
    "$price": "2",
    "$peak": "989e12",
}


@dataclasses.dataclass(frozen=True)
class Selector:
    start: int
    end: int
    name: str
    matchers: str
    range: str

    def text(self) -> str:
        return f"{self.name}{{{self.matchers}}}" if self.matchers else self.name


def selectors(expr: str) -> list[Selector]:
    """The vector selectors of an expression, in order."""
    spans = [m.span() for m in _LABEL_LIST.finditer(expr)]
    found = []
    for m in _SELECTOR.finditer(expr):
        if any(a <= m.start() < b for a, b in spans):
            continue
        found.append(Selector(m.start(), m.end(), m["name"], (m["matchers"] or "").strip(), m["range"] or ""))
    return found


def rewrite(expr: str, change) -> str:
    """The expression with each selector replaced by change(selector): its text without the range."""
    out, at = [], 0
    for s in selectors(expr):
        out += [expr[at : s.start], change(s), s.range]
        at = s.end
    return "".join(out) + expr[at:]


def narrow(expr: str, extra_of) -> str:
    """Adds the matchers extra_of(name), a list of texts, to every selector."""

    def change(s: Selector) -> str:
        matchers = ",".join(([s.matchers] if s.matchers else []) + extra_of(s.name))
        return f"{s.name}{{{matchers}}}" if matchers else s.name

    return rewrite(expr, change)


def rename(expr: str, old: str, new: str) -> str:
    """The expression with metric `old` called `new`, its suffixes of a histogram kept."""

    def change(s: Selector) -> str:
        tail = s.name.removeprefix(old)
        name = (
            new + tail if s.name == old or tail in ("_bucket", "_sum", "_count") and s.name.startswith(old) else s.name
        )
        return f"{name}{{{s.matchers}}}" if s.matchers else name

    return rewrite(expr, change)


def substitute(expr: str) -> str:
    """The expression with Grafana's variables replaced: intervals by VARIABLES, every other one by '.+'."""
    for name, value in VARIABLES.items():
        expr = expr.replace(name, value)
    return re.sub(r"\$\{?[a-z]\w*(?::\w+)?\}?", ".+", expr)
