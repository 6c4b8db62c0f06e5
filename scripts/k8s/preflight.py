#!/usr/bin/env python3
"""Says in sentences what a cluster lacks for a run, before anything is launched.

    python3 scripts/k8s/preflight.py NAME --namespace TEAM --values mine.yaml --config mine.textproto

Renders the chart with helm, asks the cluster through kubectl (both from PATH; read-only, and a dry run that the server answers),
and prints a line for each thing that is missing. Exit code 0: nothing is; 1: something is; 2: the question was wrong.
Needs PyYAML. `--self-test` asks made-up clusters instead, each of which lacks one thing.
"""

import argparse
import json
import pathlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from base.local import ROOT, yaml_module  # noqa: E402

yaml = yaml_module()
OLDEST, WITH_ARTIFACTS = (1, 29), (1, 35)  # Kubernetes; deploy/chart/Chart.yaml
INSTALL = {"jobset.x-k8s.io": "JobSet 0.12", "keda.sh": "KEDA 2.20", "monitoring.coreos.com": "the Prometheus operator 0.92",
           "cert-manager.io": "cert-manager 1.21", "kueue.x-k8s.io": "Kueue 0.19"}  # fmt: skip
Ask = Callable[..., dict | None]  # arguments of `kubectl get`; None = there is no such thing


def kubectl_get(*args: str) -> dict | None:
    done = subprocess.run(["kubectl", "get", "-o", "json", *args], capture_output=True, text=True, timeout=60)
    return json.loads(done.stdout) if done.returncode == 0 and done.stdout else None


def raw(ask: Ask, path: str) -> dict | None:
    return ask("--raw", path)


def problems(objects: list[dict], values: dict, namespace: str, ask: Ask) -> list[str]:
    version = raw(ask, "/version")
    if version is None:
        return ["kubectl reaches no cluster: see `kubectl cluster-info`."]
    found = []
    have = (int(version["major"]), int(re.match(r"\d+", version["minor"])[0]))
    if have < OLDEST:
        found.append(f"Kubernetes is {have[0]}.{have[1]}: expected {OLDEST[0]}.{OLDEST[1]} or later.")
    if values["artifacts"] and have < WITH_ARTIFACTS:
        found.append(f"Kubernetes is {have[0]}.{have[1]}: artifacts need {WITH_ARTIFACTS[0]}.{WITH_ARTIFACTS[1]}, or a claim instead.")
    found += missing_operators(objects, ask)
    found += namespace_problems(values, namespace, ask)
    found += storage_problems(values, namespace, ask)
    if values["gpu"]["enabled"]:
        found += gpu_problems(values, ask)
    if values["monitoring"]["podMonitor"]:
        found += monitoring_problems(values, ask)
    return found


def missing_operators(objects: list[dict], ask: Ask) -> list[str]:
    wanted = dict.fromkeys(o["apiVersion"] for o in objects if o["apiVersion"].partition("/")[0] in INSTALL)
    return [f"The cluster does not serve {api}: install {INSTALL[api.partition('/')[0]]} or later."
            for api in wanted if raw(ask, f"/apis/{api}") is None]  # fmt: skip


def namespace_problems(values: dict, namespace: str, ask: Ask) -> list[str]:
    there = ask("namespace", namespace)
    if there is None:
        return [f"There is no namespace {namespace}: create it, with the labels of k8s/namespace.yaml."]
    found = []
    queue, tls = values["placement"]["queue"], values["tls"]
    if queue and ask("localqueue", queue, "-n", namespace) is None:
        found.append(f"There is no LocalQueue {queue} in {namespace}: see k8s/platform/queue.yaml.")
    if values["placement"]["priorityClasses"]:
        found += [f"There is no PriorityClass {name}: kubectl apply -k k8s/platform."
                  for name in ("tactus-learner", "tactus-actor") if ask("priorityclass", name) is None]  # fmt: skip
    if tls == "secrets":
        found += [f"There is no Secret {name} in {namespace}: see deploy/certificates/make_certs.sh."
                  for name in (f"{values['name']}-learner-tls", f"{values['name']}-actor-tls")
                  if ask("secret", name, "-n", namespace) is None]  # fmt: skip
    return found


def storage_problems(values: dict, namespace: str, ask: Ask) -> list[str]:
    found = []
    classes = (ask("storageclass") or {"items": []})["items"]
    name = values["storage"]["class"]
    default = "storageclass.kubernetes.io/is-default-class"
    if name and name not in {c["metadata"]["name"] for c in classes}:
        found.append(f"There is no storage class {name}: there is {', '.join(c['metadata']['name'] for c in classes) or 'none'}.")
    if not name and not any(c["metadata"].get("annotations", {}).get(default) == "true" for c in classes):
        found.append("No storage class is the default: name one in storage.class.")
    for folder, claim in values["claims"].items():
        there = ask("persistentvolumeclaim", claim, "-n", namespace)
        if there is None:
            found.append(f"There is no claim {claim} in {namespace}, from which pods read {folder}.")
        elif values["learner"]["hosts"] > 1 and there["spec"]["accessModes"] == ["ReadWriteOnce"]:
            found.append(f"The claim {claim} is ReadWriteOnce: expected one that many nodes can mount.")
    return found


def gpu_problems(values: dict, ask: Ask) -> list[str]:
    nodes = (ask("nodes") or {"items": []})["items"]
    product, ranks, hosts = values["gpu"]["product"], values["learner"]["ranksPerHost"], values["learner"]["hosts"]
    label = "nvidia.com/gpu.product"
    fitting = [n for n in nodes if not product or n["metadata"].get("labels", {}).get(label) == product]
    gpus = [int(n["status"].get("allocatable", {}).get("nvidia.com/gpu", 0)) for n in fitting]
    if product and not fitting:
        known = sorted({n["metadata"].get("labels", {}).get(label, "") for n in nodes} - {""})
        return [f"No node has the label {label}={product}: there is {', '.join(known) or 'none'}."]
    if not any(gpus):
        return ["No node offers nvidia.com/gpu: install NVIDIA's device plugin or GPU operator."]
    found = []
    if sum(g >= ranks for g in gpus) < hosts:
        found.append(f"{sum(g >= ranks for g in gpus)} nodes have {ranks} GPUs or more: the learner needs {hosts}.")
    elif sum(gpus) < ranks * hosts + values["actors"]["min"]:
        found.append(f"The cluster has {sum(gpus)} GPUs: learner and the fewest actors need {ranks * hosts + values['actors']['min']}.")
    rdma = values["placement"]["rdma"]
    if rdma and not any(rdma in n["status"].get("allocatable", {}) for n in fitting):
        found.append(f"No node offers {rdma}: install an RDMA device plugin.")
    return found


def monitoring_problems(values: dict, ask: Ask) -> list[str]:
    namespace, labels = values["monitoring"]["namespace"], values["monitoring"]["labels"]
    servers = (ask("prometheus", "-n", namespace) or {"items": []})["items"]
    if not servers:
        return [f"No Prometheus of the operator is in the namespace {namespace}: name its own in monitoring.namespace."]
    wanted = [(s["spec"].get("podMonitorSelector") or {}).get("matchLabels", {}) for s in servers]
    if not any(all(labels.get(k) == v for k, v in w.items()) for w in wanted):
        return [f"Prometheus selects monitors by {json.dumps(wanted[0])}: expected these among monitoring.labels, {json.dumps(labels)}."]
    return []


def dry_run(text: str) -> list[str]:
    """What the server's admission says: policies, quotas, Pod Security."""
    done = subprocess.run(["kubectl", "apply", "--dry-run=server", "-f", "-"], input=text, capture_output=True, text=True, timeout=120)
    return [line for line in done.stderr.splitlines() if line.strip()]


# ---- made-up clusters

GOOD = {
    ("--raw", "/version"): {"major": "1", "minor": "34+"},
    **{("--raw", f"/apis/{api}"): {} for api in ("jobset.x-k8s.io/v1alpha2", "keda.sh/v1alpha1", "monitoring.coreos.com/v1", "cert-manager.io/v1")},
    ("namespace", "team"): {},
    ("localqueue", "tactus", "-n", "team"): {},
    ("priorityclass", "tactus-learner"): {},
    ("priorityclass", "tactus-actor"): {},
    ("storageclass",): {"items": [{"metadata": {"name": "fast", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}}]},
    ("persistentvolumeclaim", "tactus-models", "-n", "team"): {"spec": {"accessModes": ["ReadOnlyMany"]}},
    ("nodes",): {"items": [{"metadata": {"labels": {}}, "status": {"allocatable": {"nvidia.com/gpu": "8"}}} for _ in range(3)]},
    ("prometheus", "-n", "monitoring"): {"items": [{"spec": {"podMonitorSelector": {"matchLabels": {"release": "kube-prometheus-stack"}}}}]},
}  # fmt: skip
LACKS = [
    (("--raw", "/version"), None, "reaches no cluster"),
    (("--raw", "/version"), {"major": "1", "minor": "28"}, "Kubernetes is 1.28: expected 1.29"),
    (("--raw", "/version"), {"major": "1", "minor": "34+"}, "Kubernetes is 1.34: artifacts need 1.35"),
    (("--raw", "/apis/jobset.x-k8s.io/v1alpha2"), None, "install JobSet 0.12"),
    (("namespace", "team"), None, "no namespace team"),
    (("localqueue", "tactus", "-n", "team"), None, "no LocalQueue tactus"),
    (("priorityclass", "tactus-actor"), None, "no PriorityClass tactus-actor"),
    (("storageclass",), {"items": []}, "No storage class is the default"),
    (("persistentvolumeclaim", "tactus-models", "-n", "team"), None, "no claim tactus-models"),
    (("persistentvolumeclaim", "tactus-models", "-n", "team"), {"spec": {"accessModes": ["ReadWriteOnce"]}}, "many nodes can mount"),
    (("nodes",), {"items": []}, "No node offers nvidia.com/gpu"),
    (("nodes",), {"items": GOOD[("nodes",)]["items"][:1]}, "1 nodes have 8 GPUs or more: the learner needs 2"),
    (("nodes",), {"items": GOOD[("nodes",)]["items"][:2]}, "has 16 GPUs: learner and the fewest actors need 20"),
    (("prometheus", "-n", "monitoring"), None, "No Prometheus of the operator"),
    (("prometheus", "-n", "monitoring"), {"items": [{"spec": {"podMonitorSelector": {"matchLabels": {"team": "x"}}}}]}, "selects monitors by"),
]  # fmt: skip


def merged(*files: pathlib.Path) -> dict:
    """Values as Helm merges them."""

    def merge(a: dict, b: dict) -> dict:
        return a | {k: merge(a[k], v) if isinstance(v, dict) and isinstance(a.get(k), dict) else v for k, v in b.items()}

    values: dict = {}
    for file in files:
        values = merge(values, yaml.safe_load(file.read_text()) or {})
    return values


def self_test() -> int:
    overlay = ROOT / "k8s/overlays/multi-node-gpu"
    values = merged(ROOT / "deploy/chart/values.yaml", overlay / "values.yaml") | {"name": "tactus"}
    objects = list(yaml.safe_load_all((overlay / "run.yaml").read_text()))
    found = [f"a cluster that has all: {x}" for x in problems(objects, values, "team", lambda *a: GOOD.get(a))]
    for key, answer, expected in LACKS:
        with_it = values | ({"artifacts": {"data": "r/data@sha256:0"}} if "artifacts" in expected else {})
        said = problems(objects, with_it, "team", lambda *a, key=key, answer=answer: (GOOD | {key: answer}).get(a))
        if len(said) != 1 or expected not in said[0]:
            found.append(f"without {' '.join(key)}: expected one sentence with '{expected}', got {said}")
    print("\n".join(found) if found else f"{len(LACKS)} clusters that lack something, each told so in one sentence")
    return 1 if found else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", help="the run's")
    parser.add_argument("--namespace", default="default")
    parser.add_argument("--values", type=pathlib.Path, action="append", default=[])
    parser.add_argument("--config", type=pathlib.Path)
    parser.add_argument("--self-test", action="store_true")
    args = parser.parse_args()
    if args.self_test:
        return self_test()
    if not args.name or not args.config:
        parser.error("expected NAME and --config FILE")
    for program in ("helm", "kubectl"):
        if not shutil.which(program):
            print(f"k8s/preflight.py: {program} is not on PATH", file=sys.stderr)
            return 2
    command = ["helm", "template", args.name, str(ROOT / "deploy/chart"), "--namespace", args.namespace, "--set-file", f"config={args.config}",
               "--kube-version", f"{OLDEST[0]}.{OLDEST[1]}.0"]  # fmt: skip
    done = subprocess.run(command + [x for f in args.values for x in ("--values", str(f))], capture_output=True, text=True)
    if done.returncode:
        print(done.stderr.strip(), file=sys.stderr)
        return 2
    values = merged(ROOT / "deploy/chart/values.yaml", *args.values) | {"name": args.name}
    found = problems([o for o in yaml.safe_load_all(done.stdout) if o], values, args.namespace, kubectl_get)
    found = found or dry_run(done.stdout)
    print("\n".join(found) if found else f"nothing is missing for {args.name} in {args.namespace}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
