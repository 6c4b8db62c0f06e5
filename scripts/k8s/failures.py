#!/usr/bin/env python3
"""Ends fake learner pods in every way and watches what the real Job controller and the real JobSet operator make of it.

    scripts/k8s/tools.sh --server && python3 scripts/k8s/failures.py

The chart's learner, as the Job of kind-cpu and the JobSet of multi-node-gpu, runs as it is on fake nodes with fake GPUs. In
place of a kubelet this script writes how a container ended; and a node of each is lost, one to be declared out of service, one to be
deleted (its pods are given up after GIVE_UP_S, not after 300 s). Exit code 1 when an expectation fails.
"""

import pathlib
import sys
import time
from collections.abc import Callable

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from base.local import Expectations, wait  # noqa: E402
from k8s.cluster import Cluster, models_claim, need_tools, node, volume  # noqa: E402
from k8s.manifests import PLATFORM, load, render, with_namespace  # noqa: E402

WAIT_S = 150  # the Job controller waits longer after each failure
GIVE_UP_S, HOLD_S = 10, 45  # the controller that collects pods looks every 20 s, and takes a node's absence for true after 40
OF_LEARNER = ("Namespace", "ConfigMap", "JobSet", "PersistentVolumeClaim", "Service", "ServiceAccount")


class Failures(Expectations):
    def __init__(self, cluster: Cluster) -> None:
        super().__init__()
        self.cluster = cluster
        self.namespace = "tactus"

    def within(self, condition: Callable[[], object], what: str) -> None:
        """An expectation that may take a while."""
        self.expect(wait(condition, WAIT_S, every_s=0.3), what)

    def get(self, *args: str) -> dict:
        return self.cluster.get("-n", self.namespace, *args)

    def learners(self) -> list[dict]:
        """All pods, however they are."""
        return self.get("pods", "-l", "app.kubernetes.io/component=learner")["items"]

    def pods(self) -> list[dict]:
        return sorted((p for p in self.learners() if p["status"]["phase"] == "Running" and "deletionTimestamp" not in p["metadata"]),
                      key=lambda p: p["metadata"]["name"])  # fmt: skip

    def fresh(self, old: list[dict]) -> bool:
        """As many pods as before run again, none of them an old one."""
        before = {p["metadata"]["uid"] for p in old}
        now = [p["metadata"]["uid"] for p in self.pods()]
        return len(now) == len(old) and not before & set(now)

    def lose_node(self, about: str, what: str, give_free: Callable[[str], list[str]]) -> None:
        """The node of the last learner pod stops to answer. While that may still run, and write, none takes its place."""
        pods, before = self.pods(), {p["metadata"]["uid"] for p in self.learners()}
        uid, name, lost = pods[-1]["metadata"]["uid"], pods[-1]["metadata"]["name"], pods[-1]["spec"]["nodeName"]
        self.cluster.lose_node(lost)
        self.within(lambda: "deletionTimestamp" in self.get("pod", name)["metadata"], f"{about}: a pod on a lost node is given up")
        for pod in pods[:-1]:
            self.cluster.end_pod(pod, 1)  # its ranks have lost their peers
        time.sleep(HOLD_S)
        now = {p["metadata"]["uid"] for p in self.learners()}
        self.expect(uid in now and now <= before, f"{about}: ... and no pod takes its place")
        self.cluster.kubectl(*give_free(lost))
        self.within(lambda: self.fresh(pods), f"{about}: ... until {what}")

    def condition(self, kind: str) -> str:
        for c in self.get(kind, "tactus-learner").get("status", {}).get("conditions", []):
            if c["status"] == "True" and c["type"] in ("Complete", "Completed", "Failed"):
                return c["type"]
        return ""

    # ---- the Job of kind-cpu

    def job(self) -> None:
        objects = [o for o in with_namespace(load(render("kind-cpu"))) if o["kind"] not in ("Deployment", "PodDisruptionBudget")]
        self.cluster.apply(objects)
        self.within(lambda: len(self.pods()) == 1, "kind-cpu: the Job starts one learner")
        for code, disrupted, failed, what in [(1, False, 1, "a crash (1) is tried again, and counted"),
                                              (3, True, 1, "an eviction (3) is tried again, and not counted"),
                                              (3, False, 1, "a stop in order without one (3) likewise")]:  # fmt: skip
            pods = self.pods()
            self.cluster.end_pod(pods[0], code, disrupted)
            self.within(lambda pods=pods: self.fresh(pods), f"kind-cpu: {what}")
            counted = self.get("job", "tactus-learner")["status"].get("failed", 0)
            self.expect(counted == failed, f"kind-cpu: ... failures so far {counted}, expected {failed}")
        taint = "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute"
        self.lose_node("kind-cpu", "its node is declared out of service", lambda lost: ["taint", "node", lost, taint])
        self.expect(self.get("job", "tactus-learner")["status"]["failed"] == 1, "kind-cpu: ... and that is not counted")
        self.cluster.end_pod(self.pods()[0], 2)
        self.within(lambda: self.condition("job") == "Failed", "kind-cpu: a user's mistake (2) fails the Job at once")
        self.cluster.kubectl("-n", self.namespace, "delete", "job", "tactus-learner")
        self.cluster.apply([o for o in objects if o["kind"] == "Job"])
        self.within(lambda: len(self.pods()) == 1, "kind-cpu: applied again after a deletion it starts")
        # Why a learner that stops early must not leave with 0: the controller would not try again.
        self.cluster.end_pod(self.pods()[0], 0, disrupted=True)
        self.within(lambda: self.condition("job") == "Complete", "kind-cpu: done (0) completes the Job, in an eviction too")
        self.cluster.kubectl("-n", self.namespace, "delete", "job,pvc,pods", "--all")

    # ---- the JobSet of multi-node-gpu

    def status(self) -> dict:
        return self.get("jobset", "tactus-learner").get("status", {})

    def job_set(self) -> None:
        self.namespace = "gpus"
        objects = [o for o in with_namespace(load(render("multi-node-gpu", namespace=self.namespace))) if o["kind"] in OF_LEARNER]
        job_set = next(o for o in objects if o["kind"] == "JobSet")
        self.cluster.apply([*objects, models_claim(self.namespace)])
        self.within(lambda: len(self.pods()) == 2, "multi-node-gpu: the JobSet starts a pod a host")
        self.names_are_right(self.pods())
        expected = [(1, False, 1, 1, "a crash (1) of one host restarts all"),
                    (130, True, 2, 1, "an eviction (130) restarts all, and is not counted"),
                    (130, False, 3, 1, "another host's stop in order (130), seen first, likewise"),
                    (137, False, 4, 2, "a kill (137) restarts all")]  # fmt: skip
        for code, disrupted, restarts, counted, what in expected:
            pods = self.pods()
            self.cluster.end_pod(pods[1], code, disrupted)
            self.within(lambda pods=pods: self.fresh(pods), f"multi-node-gpu: {what}")
            status = self.status()
            found = (status.get("restarts", 0), status.get("restartsCountTowardsMax", 0))
            self.expect(found == (restarts, counted), f"multi-node-gpu: ... restarts {found[0]}, counted {found[1]}")
        self.lose_node("multi-node-gpu", "its node is deleted", lambda lost: ["delete", "node", lost])
        found = tuple(self.status()[x] for x in ("restarts", "restartsCountTowardsMax"))
        self.expect(found == (5, 3), f"multi-node-gpu: ... restarts {found[0]}, counted {found[1]}")
        done = self.cluster.kubectl("-n", self.namespace, "patch", "jobset", "tactus-learner", "--type=json", check=False, stdin="", *[
            "-p", '[{"op": "replace", "path": "/spec/replicatedJobs/0/template/spec/backoffLimit", "value": 3}]'])  # fmt: skip
        self.expect("field is immutable" in done.stderr, "multi-node-gpu: a running JobSet's jobs cannot be changed")
        self.cluster.end_pod(self.pods()[0], 2)
        self.within(lambda: self.condition("jobset") == "Failed", "multi-node-gpu: a user's mistake (2) fails the JobSet at once")
        self.expect(self.status()["restarts"] == 5, "multi-node-gpu: ... without another restart")
        self.cluster.kubectl("-n", self.namespace, "delete", "jobset", "tactus-learner")
        claim = self.get("pvc", "tactus-run")["status"]["phase"]
        self.expect(claim == "Bound", "multi-node-gpu: the run's claim outlives the JobSet")
        self.cluster.apply([job_set])
        self.within(lambda: len(self.pods()) == 2, "multi-node-gpu: applied again after a deletion it starts, on the same claim")
        for pod in self.pods():
            self.cluster.end_pod(pod, 0)
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


def main() -> int:
    need_tools("kube-apiserver", "kubectl", "kube-controller-manager", "kube-scheduler", "kwok", "helm", "jobset")
    with Cluster(GIVE_UP_S) as cluster:
        cluster.install_crds("sigs.k8s.io_jobset")
        cluster.start_controllers([node(f"fake-{i}", gpu="8", cpu="128", memory="1Ti") for i in range(4)])
        cluster.apply(load((PLATFORM / "priority-classes.yaml").read_text()))
        failures = Failures(cluster)
        cluster.apply([volume("a", "ReadWriteOnce", "10Gi"), volume("b", "ReadWriteMany", "1Ti"), volume("c", "ReadOnlyMany", "1Gi")])
        failures.job()
        cluster.start_job_set()
        failures.job_set()
        return 1 if failures.failures else 0


if __name__ == "__main__":
    sys.exit(main())
