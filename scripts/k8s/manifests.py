"""Reads the objects of k8s/: what kustomize makes of an overlay, and what a pod of it runs, sees and mounts.

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

RENDERED = ROOT / "k8s" / "rendered"
OVERLAYS = ROOT / "k8s" / "overlays"
VARIANTS = ROOT / "tests" / "k8s" / "variants"
SCHEMAS = ROOT / "k8s" / "schemas"
CACHE = pathlib.Path(os.environ.get("TACTUS_K8S_TOOLS", pathlib.Path.home() / ".cache/tactus-k8s-tools"))
BIN = CACHE / "bin"  # what scripts/k8s/tools.sh puts there
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
INDEX = "batch.kubernetes.io/job-completion-index"
VARIABLE = re.compile(r"\$\((\w+)\)")


def kustomizations(folder: pathlib.Path) -> list[pathlib.Path]:
    """The overlays or variants in a folder."""
    return sorted(p.parent for p in folder.glob("*/kustomization.yaml"))


def build(folder: pathlib.Path) -> str:
    """What kustomize makes of an overlay or variant."""
    done = subprocess.run([str(BIN / "kustomize"), "build", str(folder)], capture_output=True, text=True)
    if done.returncode or done.stderr:
        sys.exit(f"kustomize build {folder.relative_to(ROOT)}: {done.stderr.strip()}")
    return done.stdout


def load(text: str) -> list[dict]:
    return [o for o in yaml.load_all(text, Loader=LOADER) if o]


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
    """The objects of one overlay. `allow` names exceptions that the overlay is made for: "writable-root", "rdma"."""

    name: str
    objects: list[dict]
    allow: frozenset = frozenset()
    binaries: pathlib.Path | None = None

    @staticmethod
    def rendered(overlay: str) -> "Manifests":
        """The committed ones, in which a ConfigMap's files are left out."""
        return Manifests(overlay, load((RENDERED / f"{overlay}.yaml").read_text()))

    def of(self, kind: str) -> list[dict]:
        return [o for o in self.objects if o["kind"] == kind]

    def names(self, kind: str) -> set[str]:
        return {o["metadata"]["name"] for o in self.of(kind)}

    def pods(self) -> list[Pod]:
        return [pod for o in self.objects for pod in pods_of(o)]

    def actors(self) -> list[Pod]:
        return [p for p in self.pods() if p.kind == "Deployment"]

    def learners(self) -> list[Pod]:
        """In the order of their index."""
        return [p for p in self.pods() if p.kind != "Deployment"]

    def config_map(self, name: str) -> dict[str, str]:
        return next((o.get("data", {}) for o in self.of("ConfigMap") if o["metadata"]["name"] == name), {})

    def environment(self, container: dict, fields: dict[str, str] | None = None) -> dict[str, str | None]:
        """Name to value; None where the value is a field of the pod that `fields` does not tell."""
        env: dict[str, str | None] = {}
        for source in container.get("envFrom", []):
            env |= self.config_map(source["configMapRef"]["name"])
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
        for index in range(job["completions"]):
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
