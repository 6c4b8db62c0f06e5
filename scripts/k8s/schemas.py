#!/usr/bin/env python3
"""Writes k8s/schemas/: strict JSON schemas of the kinds that k8s/ uses, for kubeconform and scripts/k8s/check.py.

    scripts/k8s/tools.sh --server && python3 scripts/k8s/schemas.py

Sources: the Kubernetes module's swagger.json and the operators' CRDs, at the versions that scripts/k8s/tools.sh pins. Descriptions
are left out, and every object with named fields refuses others, as the API server's strict decoding does.
"""

import json
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from base.local import ROOT  # noqa: E402
from k8s.manifests import CACHE, LOADER, SCHEMAS, yaml  # noqa: E402

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
    "io.k8s.api.rbac.v1.Role",
    "io.k8s.api.rbac.v1.RoleBinding",
]
CRD_KINDS = {"JobSet", "ScaledObject", "PodMonitor", "PrometheusRule", "Certificate", "Issuer", "LocalQueue",
             "ClusterQueue", "ResourceFlavor"}  # fmt: skip
KEPT = {"type", "properties", "required", "items", "enum", "additionalProperties", "minimum", "maximum", "pattern",
        "minItems", "maxItems"}  # fmt: skip
INT_OR_STRING = {"anyOf": [{"type": "integer"}, {"type": "string"}]}


class Loader(LOADER):
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
    line = next(x for x in (ROOT / "scripts/k8s/tools.sh").read_text().splitlines() if x.startswith("KUBERNETES="))
    return line.split("=")[1]


def file_name(group: str, version: str, kind: str) -> str:
    """kubeconform's name: kind, first part of the group, version."""
    return "-".join(x for x in (kind.lower(), group.split(".")[0], version) if x) + ".json"


def builtin() -> dict[str, dict]:
    """File name to schema, of Kubernetes' own kinds and all they refer to."""
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

    files = {}
    for name in KINDS:
        reach(name)
        gvk = definitions[name]["x-kubernetes-group-version-kind"][0]
        files[file_name(gvk["group"], gvk["version"], gvk["kind"])] = {"$ref": f"_definitions.json#/definitions/{name}"}
    return files | {"_definitions.json": {"definitions": reached}}


def of_operators() -> dict[str, dict]:
    """File name to schema, of the operators' kinds."""
    files, found = {}, set()
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
                files[file_name(group, version["name"], kind)] = schema
                found.add(kind)
    if found != CRD_KINDS:
        sys.exit(f"k8s/schemas.py: no CRD of {sorted(CRD_KINDS - found)} in {CACHE / 'crds'}: run scripts/k8s/tools.sh --server")
    return files


def main() -> None:
    files = of_operators() | builtin()
    SCHEMAS.mkdir(parents=True, exist_ok=True)
    for old in SCHEMAS.glob("*.json"):
        old.unlink()
    for name, schema in files.items():
        (SCHEMAS / name).write_text(json.dumps(schema, sort_keys=True, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
