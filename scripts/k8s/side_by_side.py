#!/usr/bin/env python3
"""Runs beside each other through a real API server and its controllers, by Helm: two in one namespace, one in another.

    scripts/k8s/tools.sh --server && python3 scripts/k8s/side_by_side.py

The chart with the values of k8s/overlays/multi-node-gpu. The first run is installed, scaled, upgraded, rolled back, over, deleted,
installed again, deleted while it trains and installed again. After each the others must have the same objects and pods as before. The
pods are made by the real controllers and the JobSet operator, on fake nodes (scripts/k8s/cluster.py); how a pod ends is written here,
and what the pod NAME-end runs is run here, with the token that its ServiceAccount gets. KEDA's operator is not there: scaling is by
hand, and by the autoscaler in scripts/k8s/simulate.py. Exit code 1 when an expectation fails. By hand, some minutes.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import NamedTuple

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from base.local import ROOT, Expectations, wait  # noqa: E402
from k8s.cluster import Cluster, models_claim, need_tools, node, volume  # noqa: E402
from k8s.manifests import BIN, CHART, NAMESPACE, PLATFORM, load, value_files  # noqa: E402


class Run(NamedTuple):
    namespace: str
    name: str


ONE, TWO, ELSEWHERE = RUNS = Run("team", "one"), Run("team", "two"), Run("elsewhere", "one")
KINDS = ("configmap,service,serviceaccount,role,rolebinding,pvc,deployment,replicaset,pod,pdb,networkpolicy,podmonitor,jobset,job,"
         "scaledobject,issuer,certificate,endpointslice")  # fmt: skip
CONFIG = ROOT / "configs" / "qwen3_4b_countdown.textproto"
WAIT_S, STAY_S = 150, 30


class Check(Expectations):
    def __init__(self, cluster: Cluster) -> None:
        super().__init__()
        self.cluster = cluster

    def within(self, condition: Callable[[], object], what: str) -> None:
        """An expectation that may take a while."""
        self.expect(wait(condition, WAIT_S, every_s=0.5), what)

    def helm(self, run: Run, *words: str) -> subprocess.CompletedProcess:
        return self.cluster.run(str(BIN / "helm"), f"--kubeconfig={self.cluster.kubeconfig}", "-n", run.namespace, *words, check=False)

    def chart(self, verb: str, run: Run, *words: str, config: pathlib.Path = CONFIG) -> subprocess.CompletedProcess:
        return self.helm(run, verb, run.name, str(CHART), "--values", str(value_files()["multi-node-gpu"]), "--set-file",
                         f"config={config}", *words)  # fmt: skip

    def get(self, run: Run, *words: str) -> dict:
        return self.cluster.get("-n", run.namespace, *words)

    def objects(self, run: Run) -> dict[str, tuple[str, str]]:
        """Of all that is named after the run, by whomever it was made: uid and specification."""
        found = [o for o in self.get(run, KINDS)["items"] if f"{o['metadata']['name']}-".startswith(f"{run.name}-")]
        return {f"{o['kind']} {o['metadata']['name']}": (o["metadata"]["uid"], json.dumps(o.get("spec", o.get("data")))) for o in found}

    def pods(self, run: Run, component: str) -> list[dict]:
        labels = f"app.kubernetes.io/instance={run.name},app.kubernetes.io/component={component}"
        return self.get(run, "pods", "-l", labels)["items"]

    def running(self, run: Run) -> tuple[int, ...]:
        """Pods of learner, actors and the one that ends the run."""
        return tuple(sum(p["status"]["phase"] == "Running" and "deletionTimestamp" not in p["metadata"] for p in self.pods(run, c))
                     for c in ("learner", "actor", "end"))  # fmt: skip

    def launch(self) -> None:
        for namespace in sorted({run.namespace for run in RUNS}):
            space = load(NAMESPACE.read_text())[0]
            space["metadata"]["name"] = namespace
            self.cluster.apply([space, models_claim(namespace), volume(f"models-{namespace}", "ReadOnlyMany", "1Gi")])
        self.cluster.apply([volume(f"disk-{i}", "ReadWriteMany", "1Ti") for i in range(len(RUNS))])
        for run in RUNS:
            done = self.chart("install", run)
            self.expect(not done.returncode and "arning" not in done.stderr,
                        f"helm installs {'/'.join(run)} under Pod Security restricted without a warning {done.stderr.strip()}")  # fmt: skip
        for run in RUNS:
            self.within(lambda run=run: self.running(run) == (2, 1, 1), f"{'/'.join(run)}: two learner hosts, an actor and the pod that ends it")
        self.expect(not self.objects(ONE).keys() & self.objects(TWO).keys(), f"no object of {len(self.objects(ONE))} is of both")

    def scale(self) -> None:
        self.cluster.kubectl("-n", ONE.namespace, "scale", f"deployment/{ONE.name}-actor", "--replicas=11")
        self.within(lambda: self.running(ONE) == (2, 11, 1), "one is scaled to 11 actors")

    def upgrade(self) -> None:
        before = self.objects(ONE)
        done = self.chart("upgrade", ONE, "--set", "actors.max=12")
        scaled, now = f"ScaledObject {ONE.name}-actor", self.objects(ONE)
        most = json.loads(now[scaled][1])["maxReplicaCount"]
        self.expect(not done.returncode and most == 12, f"one: helm upgrade changes the most actors {done.stderr.strip()}")
        self.expect(now | {scaled: before[scaled]} == before, "one: ... and nothing else: pods and their number are the same")
        with tempfile.NamedTemporaryFile("w", suffix=".textproto") as other:
            other.write(CONFIG.read_text() + "seed: 7\n")
            other.flush()
            done = self.chart("upgrade", ONE, "--set", "actors.max=13", config=pathlib.Path(other.name))
        self.expect(done.returncode and "immutable" in done.stderr, "one: another configuration is refused while its objects live")
        done = self.helm(ONE, "rollback", ONE.name, "2")
        self.expect(not done.returncode and self.objects(ONE) == now, f"one: a rollback has all as before {done.stderr.strip()}")

    def end(self) -> None:
        pod = self.pods(ONE, "end")[0]
        token = self.cluster.kubectl("-n", ONE.namespace, "create", "token", pod["spec"]["serviceAccountName"]).stdout.strip()
        config = json.loads(self.cluster.kubeconfig.read_text())
        config["users"] = [{"name": "u", "user": {"token": token}}]
        config["contexts"][0]["context"]["namespace"] = ONE.namespace
        path = self.cluster.folder / "end"
        path.write_text(json.dumps(config))
        kubectl = [str(BIN / "kubectl"), f"--kubeconfig={path}"]

        def call(*words: str) -> str:
            return self.cluster.run(*kubectl, *words, check=False).stderr.strip()

        waits, *others = [c["args"] for c in pod["spec"]["initContainers"] + pod["spec"]["containers"]]
        waiting = self.cluster.start(*kubectl, *waits)
        for learner in self.pods(ONE, "learner"):
            self.expect(waiting.poll() is None, f"one: {ONE.name}-end waits while {learner['metadata']['name']} trains")
            self.cluster.end_pod(learner, 0)
        self.within(lambda: waiting.poll() == 0, "one: ... and goes on when the operator calls the JobSet completed")
        errors = [x for words in others if (x := call(*words))]
        self.within(lambda: not self.pods(ONE, "actor"), f"one is over: what {ONE.name}-end runs takes its actors away {errors or ''}")
        self.cluster.end_pod(pod, 0)
        time.sleep(STAY_S)
        self.expect(self.running(ONE) == (0, 0, 0), f"one: ... and {STAY_S} s later no pod of it runs")
        scaled = self.get(ONE, "scaledobject", f"{ONE.name}-actor")["metadata"]["annotations"]
        self.expect(scaled.get("autoscaling.keda.sh/paused-replicas") == "0", "one: ... and KEDA is told to pause")
        for words in (["scale", f"deployment/{TWO.name}-actor", "--replicas=0"], ["get", "secrets"],
                      ["delete", f"jobset/{ONE.name}-learner"], ["annotate", f"scaledobject/{TWO.name}-actor", "a=b"]):  # fmt: skip
            self.expect("forbidden" in call(*words), f"one: its token may not {' '.join(words)}")

    def delete(self) -> None:
        name = f"PersistentVolumeClaim {ONE.name}-run"
        claim = {name: self.objects(ONE)[name]}  # its uid and its volume
        for state in ("over", "training"):
            made = len(self.objects(ONE))
            done = self.helm(ONE, "uninstall", ONE.name)
            self.within(lambda: self.objects(ONE) == claim,
                        f"one: uninstalled when {state}, of {made} objects the claim with the checkpoints stays {done.stderr.strip()}")  # fmt: skip
            phase = self.get(ONE, "pvc", f"{ONE.name}-run")["status"]["phase"]
            self.expect(phase == "Bound", f"one: ... bound to its volume ({phase})")
            done = self.chart("install", ONE)
            self.within(lambda: self.running(ONE) == (2, 1, 1), f"one: installed again under its name it starts {done.stderr.strip()}")
            self.expect(self.objects(ONE)[name] == claim[name], "one: ... on the same claim")

    def play(self) -> None:
        self.launch()
        others = [self.objects(run) for run in RUNS[1:]]
        for part in (self.scale, self.upgrade, self.end, self.delete):
            part()
            same = [self.objects(run) for run in RUNS[1:]] == others
            self.expect(same, f"the others' {' and '.join(str(len(o)) for o in others)} objects are as before one's {part.__name__}")


def main() -> int:
    need_tools("kube-apiserver", "kubectl", "kube-controller-manager", "kube-scheduler", "kwok", "helm", "jobset")
    with Cluster() as cluster:
        for operator in ("sigs.k8s.io_jobset", "github.com_prometheus-operator", "github.com_kedacore", "github.com_cert-manager"):
            cluster.install_crds(operator)
        cluster.apply(load((PLATFORM / "priority-classes.yaml").read_text()))
        # As many as there are pods that want a GPU, and more: learners may preempt actors.
        cluster.start_controllers([node(f"fake-{i}", gpu="8", cpu="128", memory="1Ti") for i in range(32)])
        cluster.start_job_set()
        check = Check(cluster)
        check.play()
        return 1 if check.failures else 0


if __name__ == "__main__":
    sys.exit(main())
