"""Reads the objects of a run: what deploy/chart makes of its values, and what a pod of it runs, sees and mounts.

Thread-safe: nothing here changes what it reads.
"""

import dataclasses
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping

from base.local import ROOT, yaml_module

yaml = yaml_module()

CHART = ROOT / "deploy" / "chart"
OVERLAYS = ROOT / "k8s" / "overlays"
PLATFORM = ROOT / "k8s" / "platform"
NAMESPACE = ROOT / "k8s" / "namespace.yaml"
VARIANTS = ROOT / "tests" / "k8s" / "values"  # more values, for what the overlays do not use
CONFIGS = {"single-node-gpu": "qwen3_4b_countdown", "multi-node-gpu": "qwen3_4b_countdown"}  # else the quick start
SCHEMAS = ROOT / "k8s" / "schemas"
CACHE = pathlib.Path(os.environ.get("TACTUS_K8S_TOOLS", pathlib.Path.home() / ".cache/tactus-k8s-tools"))
BIN = CACHE / "bin"  # what scripts/k8s/tools.sh puts there
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
COMPONENT = "app.kubernetes.io/component"
INDEX = "batch.kubernetes.io/job-completion-index"
VARIABLE = re.compile(r"\$\((\w+)\)")


def value_files() -> dict[str, pathlib.Path]:
    """Of each overlay and variant, by its name."""
    overlays = {p.parent.name: p for p in sorted(OVERLAYS.glob("*/values.yaml"))}
    return overlays | {p.stem: p for p in sorted(VARIANTS.glob("*.yaml"))}


def template(*arguments: str, run: str = "tactus", namespace: str = "tactus") -> subprocess.CompletedProcess:
    """Helm on the chart, with these arguments."""
    command = [str(BIN / "helm"), "template", run, str(CHART), "--namespace", namespace, "--kube-version", "1.29.0", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def render(name: str, *arguments: str, run: str = "tactus", namespace: str = "tactus") -> str:
    """What the chart makes of an overlay's or variant's values."""
    config = ROOT / "configs" / f"{CONFIGS.get(name, 'quickstart')}.textproto"
    done = template("--values", str(value_files()[name]), "--set-file", f"config={config}", *arguments, run=run, namespace=namespace)
    if done.returncode or done.stderr:
        sys.exit(f"helm template of {name}: {done.stderr.strip()}")
    return done.stdout


def load(text: str) -> list[dict]:
    return [o for o in yaml.load_all(text, Loader=LOADER) if o]


def with_namespace(objects: list[dict]) -> list[dict]:
    """The objects of a run after the namespace that it lives in."""
    found = load(NAMESPACE.read_text())
    for o in found:
        o["metadata"]["name"] = objects[0]["metadata"]["namespace"]
    return found + objects


def matches(selector: dict | None, labels: dict) -> bool:
    """Whether a selector of Kubernetes admits these labels."""
    if selector is None or any(e["operator"] != "In" for e in selector.get("matchExpressions", [])):
        return False
    wanted = [(e["key"], e["values"]) for e in selector.get("matchExpressions", [])]
    wanted += [(key, [value]) for key, value in (selector.get("matchLabels") or {}).items()]
    return all(labels.get(key) in values for key, values in wanted)


@dataclasses.dataclass
class Pod:
    """One pod that the objects would make."""

    owner: str
    kind: str  # of the owner: Deployment, Job or JobSet
    labels: dict
    spec: dict

    def main(self) -> dict:
        return self.spec["containers"][0]

    def init(self) -> list[dict]:
        return self.spec.get("initContainers", [])

    def volumes(self) -> dict[str, dict]:
        return {v["name"]: v for v in self.spec.get("volumes", [])}

    def grace_s(self) -> float:
        return self.spec.get("terminationGracePeriodSeconds", 30)

    def fields(self, name: str) -> dict[str, str]:
        """What the downward API tells a container of the pod so named."""
        fields = {"metadata.name": name}
        if INDEX in self.labels:
            fields[f"metadata.labels['{INDEX}']"] = self.labels[INDEX]
        return fields


@dataclasses.dataclass
class Manifests:
    """The objects of one run, and its namespace."""

    name: str
    objects: list[dict]
    binaries: pathlib.Path | None = None

    @staticmethod
    def rendered(overlay: str) -> "Manifests":
        """The committed ones."""
        files = [OVERLAYS / overlay / name for name in ("claim.yaml", "run.yaml")]
        return Manifests(overlay, with_namespace([o for file in files for o in load(file.read_text())]))

    def of(self, kind: str) -> list[dict]:
        return [o for o in self.objects if o["kind"] == kind]

    def names(self, kind: str) -> set[str]:
        return {o["metadata"]["name"] for o in self.of(kind)}

    def all_pods(self) -> list[Pod]:
        return [pod for o in self.objects for pod in pods_of(o)]

    def pods(self) -> list[Pod]:
        """Of learner and actors: all but the one that ends the run."""
        return [p for p in self.all_pods() if p.labels[COMPONENT] != "end"]

    def actors(self) -> list[Pod]:
        return [p for p in self.pods() if p.labels[COMPONENT] == "actor"]

    def learners(self) -> list[Pod]:
        """In the order of their index."""
        return [p for p in self.pods() if p.labels[COMPONENT] == "learner"]

    def config_map(self, name: str) -> dict[str, str]:
        return next((o.get("data", {}) for o in self.of("ConfigMap") if o["metadata"]["name"] == name), {})

    def environment(self, container: dict, fields: dict[str, str] | None = None) -> dict[str, str | None]:
        """Name to value; None where the value is a field of the pod that `fields` does not tell."""
        env: dict[str, str | None] = {}
        for entry in container.get("env", []):
            path = entry.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
            env[entry["name"]] = entry.get("value") if path is None else (fields or {}).get(path)
        return env


def pods_of(owner: dict) -> Iterator[Pod]:
    """The pods of a Deployment (one), Job or JobSet (one an index); none of anything else."""
    kind, name = owner["kind"], f"{owner['kind']} {owner['metadata']['name']}"
    if kind == "Deployment":
        template = owner["spec"]["template"]
        yield Pod(name, kind, template["metadata"]["labels"], template["spec"])
    for job_name, job in jobs_of(owner):
        template = job["template"]
        for index in range(job.get("completions", 1)):
            yield Pod(job_name, kind, template["metadata"]["labels"] | {INDEX: str(index)}, template["spec"])


def jobs_of(owner: dict) -> list[tuple[str, dict]]:
    """What a message calls it, and its spec, for each job of a Job or JobSet."""
    name = f"{owner['kind']} {owner['metadata']['name']}"
    if owner["kind"] == "Job":
        return [(name, owner["spec"])]
    if owner["kind"] == "JobSet":
        return [(f"{name}/{r['name']}", r["template"]["spec"]) for r in owner["spec"]["replicatedJobs"]]
    return []


def command(container: dict, env: Mapping[str, str | None]) -> list[str]:
    """The words that a container starts with; what $(NAME) stands for is in them where it is known."""
    words = container["command"] + container.get("args", [])
    return [VARIABLE.sub(lambda m: env.get(m[1]) or m[0], word) for word in words]
