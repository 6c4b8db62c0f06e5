#!/usr/bin/env python3
"""Two runs in one namespace of a real API server, by Helm: installed, scaled, upgraded, rolled back, ended, deleted, installed again.

    scripts/k8s/tools.sh --server && python3 scripts/k8s/side_by_side.py

The chart with the values of k8s/overlays/multi-node-gpu. Whatever befalls the first run, the second's objects must stay
the same ones with the same specification. What the pod NAME-end runs is run here, with the token that its ServiceAccount gets, once
the JobSet's status says that the run is over. No controller runs: no pod is made, the autoscaler does not scale (that is
scripts/k8s/simulate.py), and of a deleted run the garbage collector has nothing to take. By hand, some minutes.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from base.local import ROOT, Expectations  # noqa: E402
from k8s.cluster import Cluster, need_tools  # noqa: E402
from k8s.manifests import BIN, CHART, NAMESPACE, load, value_files  # noqa: E402

TEAM, ONE, TWO = "team", "one", "two"
KINDS = ("configmap,service,serviceaccount,role,rolebinding,pvc,deployment,pdb,networkpolicy,podmonitor,jobset,job,scaledobject,"
         "issuer,certificate")  # fmt: skip
CONFIG = ROOT / "configs" / "qwen3_4b_countdown.textproto"


class Runs(Expectations):
    def __init__(self, cluster: Cluster) -> None:
        super().__init__()
        self.cluster = cluster

    def helm(self, *words: str) -> subprocess.CompletedProcess:
        return self.cluster.run(str(BIN / "helm"), f"--kubeconfig={self.cluster.kubeconfig}", "-n", TEAM, *words, check=False)

    def chart(self, verb: str, run: str, *words: str, config: pathlib.Path = CONFIG) -> subprocess.CompletedProcess:
        return self.helm(verb, run, str(CHART), "--values", str(value_files()["multi-node-gpu"]), "--set-file", f"config={config}", *words)

    def objects(self, run: str) -> dict[str, tuple[str, str]]:
        """Of all that carries the run's label: uid and specification."""
        found = self.cluster.get("-n", TEAM, KINDS, "-l", f"app.kubernetes.io/instance={run}")["items"]
        return {f"{o['kind']} {o['metadata']['name']}": (o["metadata"]["uid"], json.dumps(o.get("spec", o.get("data")))) for o in found}

    def replicas(self, run: str) -> int:
        return self.cluster.get("-n", TEAM, "deployment", f"{run}-actor")["spec"]["replicas"]

    def launch(self) -> None:
        space = load(NAMESPACE.read_text())[0]
        space["metadata"]["name"] = TEAM
        self.cluster.apply([space])
        for run in (ONE, TWO):
            done = self.chart("install", run)
            self.expect(not done.returncode and "arning" not in done.stderr,
                        f"helm installs {run} under Pod Security restricted without a warning {done.stderr.strip()}")  # fmt: skip
        self.expect(not self.objects(ONE).keys() & self.objects(TWO).keys(), f"no object of {len(self.objects(ONE))} is of both")

    def scale(self) -> None:
        before = self.replicas(TWO)
        self.cluster.kubectl("-n", TEAM, "scale", f"deployment/{ONE}-actor", "--replicas=11")
        self.expect((self.replicas(ONE), self.replicas(TWO)) == (11, before), f"one is scaled to 11, two keeps its {before}")

    def upgrade(self) -> None:
        done = self.chart("upgrade", ONE, "--set", "actors.max=12")
        most = self.cluster.get("-n", TEAM, "scaledobject", f"{ONE}-actor")["spec"]["maxReplicaCount"]
        self.expect(not done.returncode and most == 12, f"one: helm upgrade changes the most actors {done.stderr.strip()}")
        self.expect(self.replicas(ONE) == 11, "one: ... and leaves those that run as many as they are")
        before = self.objects(ONE)
        with tempfile.NamedTemporaryFile("w", suffix=".textproto") as other:
            other.write(CONFIG.read_text() + "seed: 7\n")
            other.flush()
            done = self.chart("upgrade", ONE, "--set", "actors.max=13", config=pathlib.Path(other.name))
        self.expect(done.returncode and "immutable" in done.stderr, "one: another configuration is refused while its objects live")
        done = self.helm("rollback", ONE, "2")
        self.expect(not done.returncode and self.objects(ONE) == before, f"one: a rollback has all as before {done.stderr.strip()}")

    def end(self) -> None:
        status = json.dumps({"status": {"terminalState": "Completed"}})
        self.cluster.kubectl("-n", TEAM, "patch", f"jobset/{ONE}-learner", "--subresource=status", "--type=merge", "-p", status)
        spec = self.cluster.get("-n", TEAM, "job", f"{ONE}-end")["spec"]["template"]["spec"]
        token = self.cluster.kubectl("-n", TEAM, "create", "token", spec["serviceAccountName"]).stdout.strip()
        config = json.loads(self.cluster.kubeconfig.read_text())
        config["users"] = [{"name": "u", "user": {"token": token}}]
        config["contexts"][0]["context"]["namespace"] = TEAM
        path = self.cluster.folder / "end"
        path.write_text(json.dumps(config))

        def call(*words: str) -> str:
            return self.cluster.run(str(BIN / "kubectl"), f"--kubeconfig={path}", *words, check=False).stderr.strip()

        errors = [x for c in spec["initContainers"] + spec["containers"] if (x := call(*c["args"]))]
        self.expect(not errors and self.replicas(ONE) == 0, f"one is over: what {ONE}-end runs takes its actors to none {errors or ''}")
        scaled = self.cluster.get("-n", TEAM, "scaledobject", f"{ONE}-actor")["metadata"]["annotations"]
        self.expect(scaled.get("autoscaling.keda.sh/paused-replicas") == "0", "one: ... and pauses KEDA there")
        for words in (["scale", f"deployment/{TWO}-actor", "--replicas=0"], ["get", "secrets"], ["delete", f"jobset/{ONE}-learner"],
                      ["annotate", f"scaledobject/{TWO}-actor", "a=b"]):  # fmt: skip
            self.expect("forbidden" in call(*words), f"one: its token may not {' '.join(words)}")

    def delete(self) -> None:
        claim = self.objects(ONE)[f"PersistentVolumeClaim {ONE}-run"]
        done = self.helm("uninstall", ONE)
        left = self.objects(ONE)
        self.expect(not done.returncode and left == {f"PersistentVolumeClaim {ONE}-run": claim},
                    f"one: helm uninstalls it but for the claim with the checkpoints {[*left] if len(left) != 1 else ''}")  # fmt: skip
        done = self.chart("install", ONE)
        again = self.objects(ONE)
        self.expect(not done.returncode and again.get(f"PersistentVolumeClaim {ONE}-run") == claim and len(again) > 1,
                    f"one: installed again under its name it has the same claim {done.stderr.strip()}")  # fmt: skip

    def play(self) -> None:
        self.launch()
        two = self.objects(TWO)
        for part in (self.scale, self.upgrade, self.end, self.delete):
            part()
            self.expect(self.objects(TWO) == two, f"two: its {len(two)} objects are as they were after one's {part.__name__}")


def main() -> int:
    need_tools("kube-apiserver", "kubectl", "helm")
    with Cluster() as cluster:
        for operator in ("sigs.k8s.io_jobset", "github.com_prometheus-operator", "github.com_kedacore", "github.com_cert-manager"):
            cluster.install_crds(operator)
        runs = Runs(cluster)
        runs.play()
        return 1 if runs.failures else 0


if __name__ == "__main__":
    sys.exit(main())
