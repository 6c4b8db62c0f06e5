#!/usr/bin/env python3
"""Ends fake learner pods in every way and watches what the real Job controller and the real JobSet operator make of it.

    scripts/k8s/tools.sh --server && python3 scripts/k8s/failures.py

The learner's JobSet of the overlay multi-node-gpu and its Job of kind-cpu run as they are on fake nodes with
fake GPUs. In place of a kubelet this script writes how a container ended. Exit code 1 when an
expectation fails.
"""

import json
import pathlib
import sys
from collections.abc import Callable

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from base.local import Expectations, free_port, wait  # noqa: E402
from k8s.cluster import Cluster, need_tools, node  # noqa: E402
from k8s.manifests import BIN, load, render, with_namespace  # noqa: E402

NS, WAIT_S = "tactus", 150  # the Job controller waits longer after each failure


class Failures(Expectations):
    def __init__(self, cluster: Cluster) -> None:
        super().__init__()
        self.cluster = cluster

    def within(self, condition: Callable[[], object], what: str) -> None:
        """An expectation that may take a while."""
        self.expect(wait(condition, WAIT_S, every_s=0.3), what)

    def get(self, *args: str) -> dict:
        return self.cluster.get("-n", NS, *args)

    def pods(self) -> list[dict]:
        found = self.get("pods", "-l", "app.kubernetes.io/component=learner")["items"]
        return sorted((p for p in found if p["status"]["phase"] == "Running" and "deletionTimestamp" not in p["metadata"]),
                      key=lambda p: p["metadata"]["name"])  # fmt: skip

    def fresh(self, old: list[dict]) -> bool:
        """As many pods as before run again, none of them an old one."""
        before = {p["metadata"]["uid"] for p in old}
        now = [p["metadata"]["uid"] for p in self.pods()]
        return len(now) == len(old) and not before & set(now)

    def end(self, pod: dict, exit_code: int, disrupted: bool = False) -> None:
        """What a kubelet reports; an eviction adds the condition first."""
        conditions = [c for c in pod["status"].get("conditions", []) if c["type"] != "DisruptionTarget"]
        if disrupted:
            conditions.append({"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"})
        status = {"phase": "Succeeded" if exit_code == 0 else "Failed", "conditions": conditions, "containerStatuses": [
            {"name": "learner", "image": "tactus", "imageID": "", "ready": False, "restartCount": 0,
             "state": {"terminated": {"exitCode": exit_code, "reason": "Completed" if exit_code == 0 else "Error"}}}]}  # fmt: skip
        self.cluster.kubectl("-n", NS, "patch", "pod", pod["metadata"]["name"], "--subresource=status", "--type=merge",
                             "-p", json.dumps({"status": status}))  # fmt: skip

    def condition(self, kind: str) -> str:
        for c in self.get(kind, "tactus-learner").get("status", {}).get("conditions", []):
            if c["status"] == "True" and c["type"] in ("Complete", "Completed", "Failed"):
                return c["type"]
        return ""

    # ---- the Job of kind-cpu

    def job(self) -> None:
        objects = [o for o in with_namespace(load(render("kind-cpu")))
                   if o["kind"] not in ("Deployment", "PodDisruptionBudget")]  # fmt: skip
        self.cluster.apply(sorted(objects, key=lambda o: o["kind"] != "Namespace"))
        self.within(lambda: len(self.pods()) == 1, "kind-cpu: the Job starts one learner")
        for code, disrupted, failed, what in [(1, False, 1, "a crash (1) is tried again, and counted"),
                                              (3, True, 1, "an eviction (3) is tried again, and not counted"),
                                              (3, False, 1, "a stop in order without one (3) likewise")]:  # fmt: skip
            pods = self.pods()
            self.end(pods[0], code, disrupted)
            self.within(lambda pods=pods: self.fresh(pods), f"kind-cpu: {what}")
            counted = self.get("job", "tactus-learner")["status"].get("failed", 0)
            self.expect(counted == failed, f"kind-cpu: ... failures so far {counted}, expected {failed}")
        self.end(self.pods()[0], 2)
        self.within(lambda: self.condition("job") == "Failed", "kind-cpu: a user's mistake (2) fails the Job at once")
        self.cluster.kubectl("-n", NS, "delete", "job", "tactus-learner")
        self.cluster.apply([o for o in objects if o["kind"] == "Job"])
        self.within(lambda: len(self.pods()) == 1, "kind-cpu: applied again after a deletion it starts")
        # Why a learner that stops early must not leave with 0: the controller would not try again.
        self.end(self.pods()[0], 0, disrupted=True)
        self.within(lambda: self.condition("job") == "Complete", "kind-cpu: done (0) completes the Job, in an eviction too")
        self.cluster.kubectl("-n", NS, "delete", "job,pvc,pods", "--all")

    # ---- the JobSet of multi-node-gpu

    def start_job_set(self) -> None:
        """The operator outside the cluster, with its webhooks on loopback."""
        folder, port = self.cluster.folder, free_port()
        (folder / "webhook").mkdir()
        self.cluster.run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "webhook/tls.key", "-out",
                         "webhook/tls.crt", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1")  # fmt: skip
        (folder / "jobset.json").write_text(json.dumps({
            "apiVersion": "config.jobset.x-k8s.io/v1alpha1", "kind": "Configuration",
            "leaderElection": {"leaderElect": False}, "internalCertManagement": {"enable": False},
            "webhook": {"port": port, "host": "127.0.0.1", "certDir": str(folder / "webhook")}}))  # fmt: skip
        ca = self.cluster.run("base64", "-w0", "webhook/tls.crt").stdout

        def hook(name: str, path: str, group: str, resource: str, operations: list[str]) -> dict:
            return {"name": name, "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Fail",
                    "clientConfig": {"url": f"https://127.0.0.1:{port}{path}", "caBundle": ca},
                    "rules": [{"apiGroups": [group], "apiVersions": ["*"], "operations": operations,
                               "resources": [resource]}]}  # fmt: skip

        kind = "jobset-x-k8s-io-v1alpha2-jobset"
        self.cluster.start(str(BIN / "jobset"), f"--kubeconfig={self.cluster.kubeconfig}", "--config=jobset.json",
                           f"--metrics-bind-address=127.0.0.1:{free_port()}",
                           f"--health-probe-bind-address=127.0.0.1:{free_port()}")  # fmt: skip
        self.cluster.apply([
            {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
             "metadata": {"name": "jobset"}, "webhooks": [
                 hook("mjobset.kb.io", f"/mutate-{kind}", "jobset.x-k8s.io", "jobsets", ["CREATE"]),
                 hook("mpod.kb.io", "/mutate--v1-pod", "", "pods", ["CREATE"])]},
            {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
             "metadata": {"name": "jobset"}, "webhooks": [
                 hook("vjobset.kb.io", f"/validate-{kind}", "jobset.x-k8s.io", "jobsets", ["CREATE", "UPDATE"]),
                 hook("vpod.kb.io", "/validate--v1-pod", "", "pods", ["CREATE"])]}])  # fmt: skip

    def status(self) -> dict:
        return self.get("jobset", "tactus-learner").get("status", {})

    def job_set(self) -> None:
        objects = [o for o in load(render("multi-node-gpu"))
                   if o["kind"] in ("ConfigMap", "JobSet", "PersistentVolumeClaim", "Service")]  # fmt: skip
        job_set = next(o for o in objects if o["kind"] == "JobSet")
        objects.append({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "tactus-models", "namespace": NS},
                        "spec": {"accessModes": ["ReadOnlyMany"], "resources": {"requests": {"storage": "1Gi"}}}})  # fmt: skip
        self.cluster.wait(lambda: not self.cluster.kubectl("apply", "--dry-run=server", "-f", "-", check=False,
                                                           stdin=json.dumps(job_set)).returncode, WAIT_S, "JobSet's webhook")  # fmt: skip
        self.cluster.apply(objects)
        self.within(lambda: len(self.pods()) == 2, "multi-node-gpu: the JobSet starts a pod a host")
        self.names_are_right(self.pods())
        expected = [(1, False, 1, 1, "a crash (1) of one host restarts all"),
                    (130, True, 2, 1, "an eviction (130) restarts all, and is not counted"),
                    (130, False, 3, 1, "another host's stop in order (130), seen first, likewise"),
                    (137, False, 4, 2, "a kill (137) restarts all")]  # fmt: skip
        for code, disrupted, restarts, counted, what in expected:
            pods = self.pods()
            self.end(pods[1], code, disrupted)
            self.within(lambda pods=pods: self.fresh(pods), f"multi-node-gpu: {what}")
            status = self.status()
            found = (status.get("restarts", 0), status.get("restartsCountTowardsMax", 0))
            self.expect(found == (restarts, counted), f"multi-node-gpu: ... restarts {found[0]}, counted {found[1]}")
        done = self.cluster.kubectl("-n", NS, "patch", "jobset", "tactus-learner", "--type=json", check=False, stdin="", *[
            "-p", '[{"op": "replace", "path": "/spec/replicatedJobs/0/template/spec/backoffLimit", "value": 3}]'])  # fmt: skip
        self.expect("field is immutable" in done.stderr, "multi-node-gpu: a running JobSet's jobs cannot be changed")
        self.end(self.pods()[0], 2)
        self.within(lambda: self.condition("jobset") == "Failed", "multi-node-gpu: a user's mistake (2) fails the JobSet at once")
        self.expect(self.status()["restarts"] == 4, "multi-node-gpu: ... without another restart")
        self.cluster.kubectl("-n", NS, "delete", "jobset", "tactus-learner")
        claim = self.get("pvc", "tactus-run")["status"]["phase"]
        self.expect(claim == "Bound", "multi-node-gpu: the run's claim outlives the JobSet")
        self.cluster.apply([job_set])
        self.within(lambda: len(self.pods()) == 2, "multi-node-gpu: applied again after a deletion it starts, on the same claim")
        for pod in self.pods():
            self.end(pod, 0)
        self.within(lambda: self.condition("jobset") == "Completed", "multi-node-gpu: done (0) on all hosts completes the JobSet")

    def names_are_right(self, pods: list[dict]) -> None:
        env = {e["name"]: e.get("value") for e in pods[0]["spec"]["containers"][0]["env"]}
        rank_zero = f"{pods[0]['spec'].get('hostname')}.{pods[0]['spec'].get('subdomain')}:29500"
        self.expect(env["TACTUS_STORE"] == rank_zero, f"multi-node-gpu: TACTUS_STORE names pod 0, {rank_zero}")
        index = [p["metadata"]["labels"].get("batch.kubernetes.io/job-completion-index") for p in pods]
        self.expect(index == ["0", "1"], f"multi-node-gpu: TACTUS_HOST_INDEX will be {index}")
        headless = self.get("service", pods[0]["spec"]["subdomain"])["spec"]
        ok = headless["clusterIP"] == "None" and headless.get("publishNotReadyAddresses") is True
        self.expect(ok, "multi-node-gpu: its headless Service publishes pods before they are ready")
        nodes = {p["spec"]["nodeName"] for p in pods}
        self.expect(len(nodes) == 2, "multi-node-gpu: eight GPUs a host put the pods on two nodes")
        selector = ",".join(f"{k}={v}" for k, v in self.get("service", "tactus-learner")["spec"]["selector"].items())
        chosen = [p["metadata"]["name"] for p in self.get("pods", "-l", selector)["items"]]
        self.expect(chosen == [pods[0]["metadata"]["name"]], "multi-node-gpu: the Service selects pod 0 alone")


def volume(name: str, mode: str, size: str) -> dict:
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
            "spec": {"capacity": {"storage": size}, "accessModes": [mode], "hostPath": {"path": "/nowhere"}}}  # fmt: skip


def main() -> int:
    need_tools("kube-apiserver", "kubectl", "kube-controller-manager", "kube-scheduler", "kwok", "helm", "jobset")
    with Cluster() as cluster:
        cluster.install_crds("sigs.k8s.io_jobset")
        cluster.start_controllers([node(f"fake-{i}", gpu="8", cpu="128", memory="1Ti") for i in range(2)])
        failures = Failures(cluster)
        cluster.apply([volume("a", "ReadWriteOnce", "10Gi"), volume("b", "ReadWriteMany", "1Ti"), volume("c", "ReadOnlyMany", "1Gi")])
        failures.job()
        failures.start_job_set()
        failures.job_set()
        return 1 if failures.failures else 0


if __name__ == "__main__":
    sys.exit(main())
