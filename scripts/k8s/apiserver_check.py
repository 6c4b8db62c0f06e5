#!/usr/bin/env python3
"""Asks a real Kubernetes API server what it thinks of k8s/: nothing is created, every object is admitted or refused.

    scripts/k8s/tools.sh --server && python3 scripts/k8s/apiserver_check.py

Each overlay and variant: `kubectl apply --dry-run=server` under the namespace's own Pod Security level must succeed without
a warning; a JobSet's jobs are tried as the Jobs that its operator would make. Each file of tests/k8s/broken must be
refused with the message in its first line ("# expect: ..."). Exit code 77 where the binaries are missing.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from base.local import ROOT  # noqa: E402
from k8s.cluster import Cluster, need_tools  # noqa: E402
from k8s.manifests import OVERLAYS, VARIANTS, build, kustomizations, load  # noqa: E402

BROKEN = ROOT / "tests" / "k8s" / "broken"
REALLY_MADE = ("Namespace", "ServiceAccount", "PriorityClass")  # the others' admission looks them up


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


def main() -> int:
    need_tools("kube-apiserver", "kubectl", "kustomize")
    found = []
    folders = kustomizations(OVERLAYS) + kustomizations(VARIANTS)
    broken = sorted(BROKEN.glob("*.yaml"))
    with Cluster() as cluster:
        cluster.install_crds()
        for folder in folders:
            objects = load(build(folder))
            complaints = apply(cluster, [o for o in objects if o["kind"] in REALLY_MADE])
            complaints += apply(cluster, objects + made_by_job_sets(objects), "--dry-run=server")
            if complaints:
                found.append(f"{folder.name}: {complaints}")
        apply(cluster, [o for o in load(build(folders[0])) if o["kind"] == "Namespace"])
        for file in broken:
            text = file.read_text()
            expected = text.splitlines()[0].removeprefix("# expect: ")
            done = cluster.kubectl("apply", "--dry-run=server", "-f", str(file), check=False)
            if not done.returncode:
                found.append(f"{file.name}: admitted, expected '{expected}'")
            elif expected not in done.stderr:
                found.append(f"{file.name}: refused, but not with '{expected}': {done.stderr.strip()}")
    print("\n".join(found) if found else f"{len(folders)} sets admitted without a warning, {len(broken)} broken files refused")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
