"""A Kubernetes control plane on loopback for checks: etcd, the API server, and on request controllers and fake nodes.

    with Cluster() as cluster:
        cluster.kubectl("apply", "-f", "-", stdin=text)

Its binaries come from scripts/k8s/tools.sh --server, etcd from Debian's etcd-server. Everything listens on 127.0.0.1 on free
ports, lives in one temporary folder and ends with the `with`. No kubelet, no containers, no network between pods.
"""

import json
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable

from base import local
from base.local import free_port
from k8s.manifests import BIN, CACHE

READY_S = 90
COMMAND_S = 300  # all CRDs on a machine that compiles beside it take two minutes


def need_tools(*names: str) -> None:
    """Ends the process as skipped where a cluster can't be started."""
    wanted = [n for n in names if not (BIN / n).exists()]
    if wanted:
        local.skip(f"no {', '.join(wanted)} in {BIN} (scripts/k8s/tools.sh --server builds them)")
    if not shutil.which("etcd"):
        local.skip("no etcd (Debian: etcd-server)")


class Cluster:
    def __init__(self, give_up_s: int = 300) -> None:
        """After give_up_s a node that does not answer has its pods deleted; 300 is Kubernetes' default."""
        self.give_up_s = give_up_s
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="tactus-k8s-"))
        self.kubeconfig = self.folder / "kubeconfig"
        self._processes: list[subprocess.Popen] = []
        self._etcd, self._port = free_port(), free_port()

    def __enter__(self) -> "Cluster":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # whoever ends the script ends all of it
        try:
            self._start_api_server()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, *command: str) -> subprocess.Popen:
        name = pathlib.Path(command[0]).name
        log = open(self.folder / f"{name}.log", "ab")
        process = subprocess.Popen([str(x) for x in command], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._processes.append(process)
        return process

    def log_tail(self, name: str) -> str:
        return "\n".join((self.folder / f"{name}.log").read_text(errors="replace").splitlines()[-15:])

    def run(self, *command: str, check: bool = True, stdin: str = "") -> subprocess.CompletedProcess:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, cwd=self.folder, timeout=COMMAND_S)
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done

    def kubectl(self, *args: str, check: bool = True, stdin: str = "") -> subprocess.CompletedProcess:
        return self.run(str(BIN / "kubectl"), f"--kubeconfig={self.kubeconfig}", *args, check=check, stdin=stdin)

    def get(self, *args: str) -> dict:
        return json.loads(self.kubectl("get", "-o", "json", *args).stdout)

    def _start_api_server(self) -> None:
        peer = free_port()
        self.start("etcd", "--data-dir", "etcd", "--listen-client-urls", f"http://127.0.0.1:{self._etcd}",
                   "--advertise-client-urls", f"http://127.0.0.1:{self._etcd}", "--listen-peer-urls",
                   f"http://127.0.0.1:{peer}", "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
                   "--initial-cluster", f"default=http://127.0.0.1:{peer}", "--unsafe-no-fsync")  # fmt: skip
        self.run("openssl", "genrsa", "-out", "sa.key", "2048")
        self.run("openssl", "rsa", "-in", "sa.key", "-pubout", "-out", "sa.pub")
        (self.folder / "tokens.csv").write_text("admintoken,admin,admin,system:masters\n")
        server = self.start(
            str(BIN / "kube-apiserver"), f"--etcd-servers=http://127.0.0.1:{self._etcd}", "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1", f"--secure-port={self._port}", "--cert-dir=certs",
            "--service-cluster-ip-range=10.0.0.0/24", "--service-account-issuer=https://kubernetes.default.svc",
            "--service-account-key-file=sa.pub", "--service-account-signing-key-file=sa.key",
            f"--default-not-ready-toleration-seconds={self.give_up_s}",
            f"--default-unreachable-toleration-seconds={self.give_up_s}",
            "--token-auth-file=tokens.csv", "--authorization-mode=RBAC", "--endpoint-reconciler-type=none")  # fmt: skip
        self.kubeconfig.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": f"https://127.0.0.1:{self._port}", "insecure-skip-tls-verify": True}}],
            "users": [{"name": "u", "user": {"token": "admintoken"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]}))  # fmt: skip
        self.kubeconfig.chmod(0o600)  # Helm warns of others
        self.wait(lambda: server.poll() is not None or not self.kubectl("get", "--raw", "/readyz", check=False).returncode,
                  READY_S, "the API server")  # fmt: skip
        if server.poll() is not None:
            raise RuntimeError(f"kube-apiserver ended: {self.log_tail('kube-apiserver')}")

    def apply(self, objects: list[dict], *flags: str, check: bool = True) -> subprocess.CompletedProcess:
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        return self.kubectl("apply", *flags, "-f", "-", check=check, stdin=text)

    @staticmethod
    def wait(condition: Callable[[], object], seconds: float, what: str) -> None:
        if not local.wait(condition, seconds, every_s=0.3):
            raise RuntimeError(f"{what}: not within {seconds:.0f} s")

    def install_crds(self, only: str = "") -> None:
        files = sorted((CACHE / "crds").glob(f"{only}*.yaml"))
        self.kubectl("apply", "--server-side", *[x for f in files for x in ("-f", str(f))])
        wait = ("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")  # fails while one has no condition yet
        self.wait(lambda: not self.kubectl(*wait, check=False).returncode, READY_S, "the CRDs")

    def start_controllers(self, nodes: list[dict], hpa_period_s: float = 15) -> None:
        """The controller manager, the scheduler, and KWOK in place of kubelets for these Node objects."""
        self.start(str(BIN / "kube-controller-manager"), f"--kubeconfig={self.kubeconfig}", "--bind-address=127.0.0.1",
                   f"--secure-port={free_port()}", "--cert-dir=certs-kcm", "--service-account-private-key-file=sa.key",
                   "--leader-elect=false", f"--horizontal-pod-autoscaler-sync-period={hpa_period_s}s",
                   "--horizontal-pod-autoscaler-initial-readiness-delay=1s",
                   "--use-service-account-credentials=false")  # fmt: skip
        self.start(str(BIN / "kube-scheduler"), f"--kubeconfig={self.kubeconfig}",
                   f"--authentication-kubeconfig={self.kubeconfig}", f"--authorization-kubeconfig={self.kubeconfig}",
                   "--bind-address=127.0.0.1", f"--secure-port={free_port()}", "--cert-dir=certs-scheduler",
                   "--leader-elect=false")  # fmt: skip
        self.start(str(BIN / "kwok"), f"--kubeconfig={self.kubeconfig}", "--manage-all-nodes=true",
                   "--node-lease-duration-seconds=40",
                   f"--config={CACHE / 'kwok-stages.yaml'}", f"--server-address=127.0.0.1:{free_port()}")  # fmt: skip
        self.apply(nodes)
        self.kubectl("wait", "--for=condition=Ready", "--timeout=60s", "node", "--all")
        self.wait(lambda: not self.kubectl("get", "serviceaccount", "default", check=False).returncode, 60, "controllers")

    def start_job_set(self) -> None:
        """The JobSet operator outside the cluster, with its webhooks on loopback."""
        port, kind = free_port(), "jobset-x-k8s-io-v1alpha2-jobset"
        (self.folder / "webhook").mkdir()
        self.run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "webhook/tls.key", "-out", "webhook/tls.crt",
                 "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1")  # fmt: skip
        (self.folder / "jobset.json").write_text(json.dumps({
            "apiVersion": "config.jobset.x-k8s.io/v1alpha1", "kind": "Configuration",
            "leaderElection": {"leaderElect": False}, "internalCertManagement": {"enable": False},
            "webhook": {"port": port, "host": "127.0.0.1", "certDir": str(self.folder / "webhook")}}))  # fmt: skip
        ca = self.run("base64", "-w0", "webhook/tls.crt").stdout

        def hook(name: str, path: str, group: str, resource: str, operations: list[str]) -> dict:
            return {"name": name, "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Fail",
                    "clientConfig": {"url": f"https://127.0.0.1:{port}{path}", "caBundle": ca},
                    "rules": [{"apiGroups": [group], "apiVersions": ["*"], "operations": operations,
                               "resources": [resource]}]}  # fmt: skip

        self.start(str(BIN / "jobset"), f"--kubeconfig={self.kubeconfig}", "--config=jobset.json",
                   f"--metrics-bind-address=127.0.0.1:{free_port()}",
                   f"--health-probe-bind-address=127.0.0.1:{free_port()}")  # fmt: skip
        self.apply([
            {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
             "metadata": {"name": "jobset"}, "webhooks": [
                 hook("mjobset.kb.io", f"/mutate-{kind}", "jobset.x-k8s.io", "jobsets", ["CREATE"]),
                 hook("mpod.kb.io", "/mutate--v1-pod", "", "pods", ["CREATE"])]},
            {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
             "metadata": {"name": "jobset"}, "webhooks": [
                 hook("vjobset.kb.io", f"/validate-{kind}", "jobset.x-k8s.io", "jobsets", ["CREATE", "UPDATE"]),
                 hook("vpod.kb.io", "/validate--v1-pod", "", "pods", ["CREATE"])]}])  # fmt: skip
        # A pod is admitted when its webhooks answer, and they are served with the JobSet's.
        pod = ("run", "probe", "--image=probe", "--dry-run=server")
        self.wait(lambda: not self.kubectl(*pod, check=False).returncode, READY_S, "JobSet's webhooks")

    # ---- in the place of a kubelet

    def end_pod(self, pod: dict, exit_code: int, disrupted: bool = False) -> None:
        """Its container has ended so; an eviction adds the condition first."""
        conditions = [c for c in pod["status"].get("conditions", []) if c["type"] != "DisruptionTarget"]
        if disrupted:
            conditions.append({"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"})
        status = {"phase": "Succeeded" if exit_code == 0 else "Failed", "conditions": conditions, "containerStatuses": [
            {"name": pod["spec"]["containers"][0]["name"], "image": "x", "imageID": "", "ready": False, "restartCount": 0,
             "state": {"terminated": {"exitCode": exit_code, "reason": "Completed" if exit_code == 0 else "Error"}}}]}  # fmt: skip
        self.kubectl("-n", pod["metadata"]["namespace"], "patch", "pod", pod["metadata"]["name"], "--subresource=status",
                     "--type=merge", "-p", json.dumps({"status": status}))  # fmt: skip

    def lose_node(self, name: str) -> None:
        """Nobody speaks for this node any more: KWOK leaves a node alone, and its pods, whose lease another one holds."""
        lease = {"spec": {"holderIdentity": "nobody", "leaseDurationSeconds": 86400}}
        self.kubectl("-n", "kube-node-lease", "patch", "lease", name, "--type=merge", "-p", json.dumps(lease))


def node(name: str, **allocatable: str) -> dict:
    """A fake node. Keyword gpu stands for nvidia.com/gpu."""
    capacity = {"pods": "110", "cpu": "64", "memory": "512Gi"} | allocatable
    if "gpu" in capacity:
        capacity["nvidia.com/gpu"] = capacity.pop("gpu")
    return {"apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "type": "kwok"},
                         "annotations": {"kwok.x-k8s.io/node": "fake"}},
            "status": {"allocatable": capacity, "capacity": capacity}}  # fmt: skip


def volume(name: str, mode: str, size: str) -> dict:
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
            "spec": {"capacity": {"storage": size}, "accessModes": [mode], "hostPath": {"path": "/nowhere"}}}  # fmt: skip


def models_claim(namespace: str) -> dict:
    """What the GPU overlays want to be there already."""
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "tactus-models", "namespace": namespace},
            "spec": {"accessModes": ["ReadOnlyMany"], "resources": {"requests": {"storage": "1Gi"}}}}  # fmt: skip
