#!/usr/bin/env python3
"""Asks a real Kubernetes API server what it thinks of k8s/: nothing is created, every object is admitted or refused.

    scripts/k8s_tools.sh --server && python3 scripts/k8s_apiserver_check.py

Each overlay and variant: `kubectl apply --dry-run=server` under the namespace's own Pod Security level must succeed without
a warning; a JobSet's jobs are tried as the Jobs that its operator would make. Each file of tests/k8s/broken must be
refused with the message in its first line ("# expect: ..."). Prints SKIPPED and ends well where the binaries are missing.
"""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import check_k8s  # noqa: E402
import k8s_cluster  # noqa: E402

BROKEN = check_k8s.ROOT / "tests" / "k8s" / "broken"
REALLY_MADE = ("Namespace", "ServiceAccount", "PriorityClass")  # the others' admission looks them up


def jobs_of(objects: list[dict]) -> list[dict]:
    return [{"apiVersion": "batch/v1", "kind": "Job",
             "metadata": {"name": f"{o['metadata']['name']}-{r['name']}-0", "namespace": o["metadata"]["namespace"]},
             "spec": r["template"]["spec"]}
            for o in objects if o["kind"] == "JobSet" for r in o["spec"]["replicatedJobs"]]  # fmt: skip


def apply(cluster: k8s_cluster.Cluster, objects: list[dict], *flags: str) -> str:
    """The server's complaints, empty when there is none."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    done = cluster.kubectl("apply", *flags, "-f", "-", check=False, stdin=text)
    return done.stderr.strip() if done.returncode or "Warning" in done.stderr else ""


def main() -> int:
    missing = k8s_cluster.missing_tools("kube-apiserver", "kubectl", "kustomize")
    if missing:
        print(f"SKIPPED: {missing}")
        return 0
    found = []
    folders = check_k8s.overlays() + check_k8s.variants()
    broken = sorted(BROKEN.glob("*.yaml"))
    with k8s_cluster.Cluster() as cluster:
        cluster.install_crds()
        for folder in folders:
            objects = check_k8s.load(check_k8s.build(folder))
            complaints = apply(cluster, [o for o in objects if o["kind"] in REALLY_MADE])
            complaints += apply(cluster, objects + jobs_of(objects), "--dry-run=server")
            if complaints:
                found.append(f"{folder.name}: {complaints}")
        apply(cluster, [o for o in check_k8s.load(check_k8s.build(folders[0])) if o["kind"] == "Namespace"])
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
