#!/usr/bin/env python3
"""Asks a real Kubernetes API server what it thinks of deploy/chart and k8s/: every object is admitted or refused.

    scripts/k8s/tools.sh --server && python3 scripts/k8s/apiserver_check.py

Each overlay, each file of tests/k8s/values and k8s/platform: `kubectl apply --dry-run=server` under the namespace's own Pod
Security level must succeed without a warning; a JobSet's jobs are tried as the Jobs that its operator would make. Each file of
tests/k8s/broken must be refused with the message in its first line ("# expect: ..."). Then runs are really made: two in
one namespace and one of the same name in another; one is deleted, and all that was another's is still there, as is its claim.
Exit code 77 where the binaries are missing.
"""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from base.local import ROOT  # noqa: E402
from k8s.cluster import Cluster, need_tools  # noqa: E402
from k8s.manifests import BIN, PLATFORM, load, render, value_files, with_namespace  # noqa: E402

BROKEN = ROOT / "tests" / "k8s" / "broken"
REALLY_MADE = ("Namespace", "ServiceAccount", "Role")  # the others' admission looks them up


def made_by_job_sets(objects: list[dict]) -> list[dict]:
    """The Jobs that the operator would make."""
    return [{"apiVersion": "batch/v1", "kind": "Job",
             "metadata": {"name": f"{o['metadata']['name']}-{r['name']}-0", "namespace": o["metadata"]["namespace"]},
             "spec": r["template"]["spec"]}
            for o in objects if o["kind"] == "JobSet" for r in o["spec"]["replicatedJobs"]]  # fmt: skip


def apply(cluster: Cluster, objects: list[dict], *flags: str) -> str:
    """The server's complaints, empty when there is none."""
    done = cluster.apply(objects, *flags, check=False)
    return done.stderr.strip() if done.returncode or "Warning" in done.stderr else ""


def admitted(cluster: Cluster) -> list[str]:
    found = []
    platform = load(cluster.run(str(BIN / "kustomize"), "build", str(PLATFORM)).stdout)
    cluster.kubectl("create", "namespace", "monitoring")
    cluster.apply([o for o in platform if o["kind"] == "PriorityClass"], "--server-side")
    sets = {name: with_namespace(load(render(name))) for name in value_files()}
    for name, objects in sets.items():
        complaints = apply(cluster, [o for o in objects if o["kind"] in REALLY_MADE])
        complaints += apply(cluster, objects + made_by_job_sets(objects), "--dry-run=server")
        found += [f"{name}: {complaints}"] * bool(complaints)
    complaints = apply(cluster, platform + load((PLATFORM / "queue.yaml").read_text()), "--dry-run=server", "--server-side")
    return found + [f"platform: {complaints}"] * bool(complaints)


def refused(cluster: Cluster) -> list[str]:
    found = []
    for file in sorted(BROKEN.glob("*.yaml")):
        expected = file.read_text().splitlines()[0].removeprefix("# expect: ")
        done = cluster.kubectl("apply", "--dry-run=server", "-f", str(file), check=False)
        if not done.returncode:
            found.append(f"{file.name}: admitted, expected '{expected}'")
        elif expected not in done.stderr:
            found.append(f"{file.name}: refused, but not with '{expected}': {done.stderr.strip()}")
    return found


def beside_each_other(cluster: Cluster) -> list[str]:
    """Makes three runs, deletes one, and looks at what is left."""

    def uids(objects: list[dict]) -> dict[str, str]:
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        listed = cluster.kubectl("get", "-f", "-", "-o", "json", "--ignore-not-found", stdin=text).stdout
        items = json.loads(listed)["items"] if listed else []
        return {f"{o['kind']} {o['metadata']['name']}": o["metadata"]["uid"] for o in items}

    runs = [load(render("multi-node-gpu", run=run, namespace=namespace))
            for run, namespace in [("one", "team-a"), ("two", "team-a"), ("one", "team-b")]]  # fmt: skip
    found = [f"beside each other: {x}" for objects in runs if (x := apply(cluster, with_namespace(objects)))]
    before = [uids(objects) for objects in runs]
    kept = [o for o in runs[0] if o["kind"] == "PersistentVolumeClaim"]
    gone = {"apiVersion": "v1", "kind": "List", "items": [o for o in runs[0] if o not in kept]}
    cluster.kubectl("delete", "--wait=false", "-f", "-", stdin=json.dumps(gone))
    if len(before[0]) != len(runs[0]) or uids(runs[0]).keys() != uids(kept).keys() or not kept:
        found.append(f"of a deleted run remain {list(uids(runs[0]))}, expected its claim")
    found += ["the deletion of one run harmed another"] * ([uids(o) for o in runs[1:]] != before[1:])
    config = next(o for o in runs[1] if o["kind"] == "ConfigMap")
    complaints = apply(cluster, [config | {"data": {"run.textproto": "seed: 2"}}])
    return found + ["a run's configuration can be changed"] * ("immutable" not in complaints)


def main() -> int:
    need_tools("kube-apiserver", "kubectl", "kustomize", "helm")
    with Cluster() as cluster:
        cluster.install_crds()
        found = admitted(cluster) + refused(cluster) + beside_each_other(cluster)
    print("\n".join(found) if found else f"{len(value_files())} sets and the platform admitted without a warning, "
          f"{len(list(BROKEN.glob('*.yaml')))} broken files refused; of three runs one deleted, the others unharmed")  # fmt: skip
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
