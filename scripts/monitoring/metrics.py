"""docs/metrics.json: every metric that Tactus exposes, as the C++ tables declare them (docs/metrics.md)."""

import dataclasses
import json

from monitoring.tools import ROOT

PATH = ROOT / "docs/metrics.json"
TARGET_LABELS = {"run", "job", "instance"}  # put on every series by the scrape configuration
SUFFIXES = ("_bucket", "_sum", "_count")


@dataclasses.dataclass(frozen=True)
class Metric:
    name: str
    type: str  # counter, gauge, histogram
    unit: str
    processes: tuple[str, ...]  # of learner, follower, actor
    labels: dict[str, tuple[str, ...]]  # closed values; empty = open
    help: str
    title: str  # of a chart that shows it; the name where none is given
    of_step: bool  # a gauge of the last learner step


class Table(dict):
    """Metrics by name."""

    def of_series(self, name: str) -> Metric | None:
        """The metric behind a series' name: that name, or a histogram's without its suffix."""
        if name in self:
            return self[name]
        for suffix in SUFFIXES:
            metric = self.get(name.removesuffix(suffix))
            if name.endswith(suffix) and metric and metric.type == "histogram":
                return metric
        return None


def load() -> Table:
    table = Table()
    for entry in json.loads(PATH.read_text())["metrics"]:
        labels = {label["name"]: tuple(label.get("values", ())) for label in entry["labels"]}
        table[entry["name"]] = Metric(
            entry["name"],
            entry["type"],
            entry["unit"],
            tuple(entry["processes"]),
            labels,
            entry["help"],
            entry.get("title", entry["name"]),
            entry.get("step", False),
        )
    return table
