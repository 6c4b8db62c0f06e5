#!/usr/bin/env python3
"""Writes k8s/schemas/: strict JSON schemas of the kinds that k8s/ uses, for kubeconform and scripts/check_k8s.py.

    scripts/k8s_tools.sh --server && python3 scripts/k8s_schemas.py

Sources: the Kubernetes module's swagger.json and the operators' CRDs, at the versions that k8s_tools.sh pins. Descriptions
are left out, and every object with named fields refuses others, as the API server's strict decoding does.
"""

import json
import os
import pathlib
import subprocess
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "k8s" / "schemas"
CACHE = pathlib.Path(os.environ.get("TACTUS_K8S_TOOLS", pathlib.Path.home() / ".cache/tactus-k8s-tools"))
KINDS = [
    "io.k8s.api.core.v1.Namespace",
    "io.k8s.api.core.v1.ServiceAccount",
    "io.k8s.api.core.v1.ConfigMap",
    "io.k8s.api.core.v1.Service",
    "io.k8s.api.core.v1.PersistentVolumeClaim",
    "io.k8s.api.apps.v1.Deployment",
    "io.k8s.api.batch.v1.Job",
    "io.k8s.api.policy.v1.PodDisruptionBudget",
    "io.k8s.api.scheduling.v1.PriorityClass",
    "io.k8s.api.networking.v1.NetworkPolicy",
    "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler",
]
CRD_KINDS = {"JobSet", "ScaledObject", "PodMonitor", "PrometheusRule", "Certificate", "Issuer", "LocalQueue"}
KEPT = {"type", "properties", "required", "items", "enum", "additionalProperties", "minimum", "maximum", "pattern",
        "minItems", "maxItems"}  # fmt: skip
INT_OR_STRING = {"anyOf": [{"type": "integer"}, {"type": "string"}]}


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """Reads a bare `=` (a matcher in a CRD's enum) as the string it is."""


Loader.add_constructor("tag:yaml.org,2002:value", lambda loader, node: node.value)


def strict(schema: dict) -> dict:
    """The schema without prose, refusing unknown fields."""
    if "$ref" in schema:
        return {"$ref": schema["$ref"]}
    if schema.get("x-kubernetes-int-or-string") or schema.get("format") == "int-or-string":
        return INT_OR_STRING
    out = {key: schema[key] for key in KEPT & schema.keys()}
    if "properties" in out:
        out["properties"] = {name: strict(field) for name, field in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            out["additionalProperties"] = False
    if isinstance(out.get("additionalProperties"), dict):
        out["additionalProperties"] = strict(out["additionalProperties"])
    if "items" in out:
        out["items"] = strict(out["items"])
    return out


def module_dir(module: str) -> pathlib.Path:
    answer = subprocess.run(["go", "mod", "download", "-json", module], capture_output=True, text=True, check=True)
    return pathlib.Path(json.loads(answer.stdout)["Dir"])


def kubernetes_version() -> str:
    line = next(x for x in (ROOT / "scripts/k8s_tools.sh").read_text().splitlines() if x.startswith("KUBERNETES="))
    return line.split("=")[1]


def write(group: str, version: str, kind: str, schema: dict) -> None:
    """kubeconform's name: kind, first part of the group, version."""
    first = group.split(".")[0]
    name = "-".join(x for x in (kind.lower(), first, version) if x) + ".json"
    (OUT / name).write_text(json.dumps(schema, sort_keys=True, separators=(",", ":")) + "\n")


def write_builtin() -> None:
    swagger = module_dir(f"k8s.io/kubernetes@v{kubernetes_version()}") / "api/openapi-spec/swagger.json"
    definitions = json.loads(swagger.read_text())["definitions"]
    reached: dict[str, dict] = {}

    def reach(name: str) -> None:
        if name in reached:
            return
        schema = definitions[name]
        if name.endswith("intstr.IntOrString"):
            reached[name] = INT_OR_STRING
        elif name.endswith("resource.Quantity"):
            reached[name] = {"anyOf": [{"type": "number"}, {"type": "string"}]}
        else:
            reached[name] = strict(schema)
        text = json.dumps(reached[name])
        for part in text.split('"#/definitions/')[1:]:
            reach(part.split('"')[0])

    for name in KINDS:
        reach(name)
        gvk = definitions[name]["x-kubernetes-group-version-kind"][0]
        write(gvk["group"], gvk["version"], gvk["kind"], {"$ref": f"_definitions.json#/definitions/{name}"})
    (OUT / "_definitions.json").write_text(
        json.dumps({"definitions": reached}, sort_keys=True, separators=(",", ":")) + "\n")


def write_crds() -> None:
    found = set()
    for path in sorted((CACHE / "crds").glob("*.yaml")):
        for crd in yaml.load_all(path.read_text(), Loader=Loader):
            if not crd or crd["spec"]["names"]["kind"] not in CRD_KINDS:
                continue
            group, kind = crd["spec"]["group"], crd["spec"]["names"]["kind"]
            for version in crd["spec"]["versions"]:
                if not version["served"]:
                    continue
                schema = strict(version["schema"]["openAPIV3Schema"])
                schema["properties"]["metadata"] = {"type": "object"}
                write(group, version["name"], kind, schema)
                found.add(kind)
    if found != CRD_KINDS:
        sys.exit(f"k8s_schemas.py: no CRD of {sorted(CRD_KINDS - found)} in {CACHE / 'crds'}: run scripts/k8s_tools.sh --server")


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    for old in OUT.glob("*.json"):
        old.unlink()
    write_builtin()
    write_crds()


if __name__ == "__main__":
    main()
