#!/usr/bin/env python3
"""Runs the pods of the overlay kind-cpu as local processes, scales the actors while it trains, and counts what was lost.

    sudo python3 scripts/k8s/scale_local.py [--build build/release] [--keep DIR]

The commands, environments, volumes, probes, users and grace periods are read from k8s/overlays/kind-cpu and obeyed:
each pod has a network namespace with an address of its own, finds the learner by the Service's DNS name (in its hosts
file), sees a read-only root and runs as the manifest's user without capabilities. No image, no kubelet: what the image
would hold at /usr/share/tactus is bound from the tree. Needs root, for namespaces; exits 77 where they cannot be made.
Ends with "ok" lines, exit 0; anything lost is exit 1.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from base.local import ROOT, read_url, require, skip, stop, wait  # noqa: E402
from k8s import manifests  # noqa: E402

SUBNET = "10.213.0"
STOPPED_EARLY = 3  # of a learner: docs/ARCHITECTURE.md
STEP_TIMEOUT_S = 120


def run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


class RunningPod:
    """A network namespace, a private view of the file system, the pod's containers one after the other."""

    def __init__(self, world: "World", name: str, pod: manifests.Pod, address: str):
        self.world, self.name, self.pod, self.address = world, name, pod, address
        self.folder = world.folder / name
        self.folder.mkdir(parents=True)
        self.process: subprocess.Popen | None = None
        self.restarts = 0
        run("ip", "netns", "add", name)
        end = f"v{address.rsplit('.', 1)[1]}"
        run("ip", "link", "add", end, "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "link", "set", end, "master", "pods", "up")
        for command in (["addr", "add", f"{address}/24", "dev", "eth0"], ["link", "set", "eth0", "up"], ["link", "set", "lo", "up"]):
            run("ip", "-n", name, *command)

    def command(self, container: dict) -> list[str]:
        """The container's process, started through a shell that makes the mounts."""
        environment = self.world.manifests.environment(container, self.pod.fields(self.name))
        security = self.pod.spec["securityContext"]
        user = str(security["runAsUser"])
        argv = manifests.command(container, environment)
        drop = ["--no-new-privs"] if not container["securityContext"]["allowPrivilegeEscalation"] else []
        if container["securityContext"]["capabilities"]["drop"] == ["ALL"]:
            drop += ["--bounding-set=-all", "--inh-caps=-all"]
        inner = ["setpriv", f"--reuid={user}", f"--regid={security['runAsGroup']}", "--clear-groups", *drop, "env", "-i",
                 f"PATH={self.world.binaries}:/usr/bin:/bin", *[f"{k}={v}" for k, v in environment.items()], *argv]  # fmt: skip
        script = "\n".join(["set -e", *self.mounts(container, user), f"cd {container['workingDir']}", 'exec "$@"'])
        return ["ip", "netns", "exec", self.name, "unshare", "--mount", "sh", "-c", script, "sh", *inner]

    def mounts(self, container: dict, user: str) -> list[str]:
        """Overlays for what an image would bring, the manifest's volumes, then a root that cannot be written to."""
        scratch = "/run/tactus-pod"
        lines = [f"mkdir -p {scratch}", f"mount -t tmpfs tmpfs {scratch}"]
        for place in ("/usr/share", "/etc", "/var/lib"):
            upper, work = f"{scratch}{place}/up", f"{scratch}{place}/work"
            lines += [f"mkdir -p {upper} {work}", f"mount -t overlay overlay -o lowerdir={place},upperdir={upper},workdir={work} {place}"]
        for folder in ("configs", "models"):
            lines += [f"mkdir -p /usr/share/tactus/{folder}", f"mount --bind {ROOT}/{folder} /usr/share/tactus/{folder}"]
        lines.append(f"cp {self.world.hosts} /etc/hosts")
        # The tree may lie below a volume's path, as a checkout in /tmp does: it is shown there again, over the volume.
        tree = f"{scratch}/tree"
        lines += [f"mkdir {tree}", f"mount --bind {ROOT} {tree}"]
        volumes = self.pod.volumes()
        for mount in container["volumeMounts"]:
            volume, path = volumes[mount["name"]], mount["mountPath"]
            lines.append(f"mkdir -p {path}")
            if "emptyDir" in volume:
                lines.append(f"mount -t tmpfs -o size={volume['emptyDir']['sizeLimit'].removesuffix('i')},uid={user} tmpfs {path}")
            elif "persistentVolumeClaim" in volume:
                lines.append(f"mount --bind {self.world.volume(volume['persistentVolumeClaim']['claimName'], user)} {path}")
            else:
                lines.append(f"mount --bind -o ro {self.world.config_folder(volume['configMap']['name'])} {path}")
        if any(ROOT.is_relative_to(mount["mountPath"]) for mount in container["volumeMounts"]):
            lines += [f"mkdir -p {ROOT}", f"mount --bind {tree} {ROOT}"]
        if container["securityContext"]["readOnlyRootFilesystem"]:
            lines += [f"mount -o remount,ro {p}" for p in ("/usr/share", "/etc", "/var/lib")] + ["mount -o remount,bind,ro /"]
        return lines

    def start(self) -> None:
        for container in self.pod.init():
            done = subprocess.run(self.command(container), capture_output=True, text=True, timeout=STEP_TIMEOUT_S)
            if done.returncode != 0:
                sys.exit(f"k8s/scale_local.py: {self.name}: {container['name']} ended with {done.returncode}: {done.stderr.strip()}")
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(self.command(self.pod.main()), stdout=log, stderr=log, start_new_session=True)

    def keep(self) -> bool:
        """Whether it runs; under restartPolicy Always what left with 0 is started again, as a kubelet does."""
        if self.process is None or self.process.poll() is None:
            return True
        if self.process.returncode != 0 or self.pod.spec.get("restartPolicy", "Always") != "Always":
            return False
        self.start()
        self.restarts += 1
        return True

    def stop(self) -> int | None:
        """As a kubelet: SIGTERM, the grace period, SIGKILL. The exit code; None = it had to be killed."""
        assert self.process is not None
        return stop(self.process, self.pod.grace_s())

    def get(self, path: str) -> str | None:
        port = next(p["containerPort"] for p in self.pod.main()["ports"] if p["name"] == "metrics")
        status, body = read_url(f"http://{self.address}:{port}{path}")
        return body if status == 200 else None

    def passes(self, probe: str) -> bool:
        return self.get(self.pod.main()[probe]["httpGet"]["path"]) is not None

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")


class World:
    """The network, the volumes and the configuration that pods share."""

    def __init__(self, overlay: str, folder: pathlib.Path, binaries: pathlib.Path):
        self.manifests = manifests.Manifests.rendered(overlay)
        self.folder, self.binaries = folder, binaries
        self.hosts = folder / "hosts"
        self.learner_address = f"{SUBNET}.10"
        service, namespace = "tactus-learner", "tactus"
        self.hosts.write_text(f"127.0.0.1 localhost\n{self.learner_address} {service} {service}.{namespace} "
                              f"{service}.{namespace}.svc.cluster.local\n")  # fmt: skip
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "pods", "type", "bridge")
        run("ip", "addr", "add", f"{SUBNET}.1/24", "dev", "pods")
        run("ip", "link", "set", "pods", "up")

    def volume(self, claim: str, user: str) -> pathlib.Path:
        path = self.folder / f"volume-{claim}"
        path.mkdir(exist_ok=True)
        os.chown(path, int(user), int(user))
        return path

    def config_folder(self, config_map: str) -> pathlib.Path:
        path = self.folder / f"config-{config_map}"
        path.mkdir(exist_ok=True)
        for name, text in self.manifests.config_map(config_map).items():
            (path / name).write_text(text)
        return path


def wait_for(what: str, condition: Callable[[], bool], *pods: RunningPod) -> None:
    def holds() -> bool:
        for pod in pods:
            if not pod.keep():
                sys.exit(f"k8s/scale_local.py: {pod.name} ended with {pod.process.returncode} while waiting for {what}:\n{pod.log()[-2000:]}")
        return condition()

    if not wait(holds, STEP_TIMEOUT_S):
        sys.exit(f"k8s/scale_local.py: {what} did not come in {STEP_TIMEOUT_S} s:\n{pods[0].log()[-2000:]}")
    require(True, what)


def metric(text: str | None, name: str, label: str = "") -> float:
    """The sum of a metric's series that carry `label`."""
    found = re.findall(rf"^{name}(?:\{{(.*?)\}})? (\S+)$", text or "", re.M)
    return sum(float(value) for labels, value in found if label in labels)


def check_books(learner: RunningPod, actors: list[RunningPod]) -> None:
    text = learner.get("/metrics")
    received, accepted = metric(text, "tactus_trajectories_received_total"), metric(text, "tactus_trajectories_accepted_total")
    rejected, trained = metric(text, "tactus_trajectories_rejected_total"), metric(text, "tactus_trajectories_trained_total")
    dropped, queued = metric(text, "tactus_trajectories_dropped_total"), metric(text, "tactus_trajectory_queue_depth")
    require(received == accepted + rejected, f"received {received:.0f} = accepted {accepted:.0f} + rejected {rejected:.0f}")
    require(accepted == trained + dropped + queued,
          f"accepted {accepted:.0f} = trained {trained:.0f} + dropped {dropped:.0f} + queued {queued:.0f}")  # fmt: skip
    require(rejected == 0 and dropped == 0, "no trajectory was refused or dropped")
    expired = metric(text, "tactus_leases_total", 'event="expired"')
    require(expired == 0, "no lease expired: what stopped actors held was handed back or finished")
    acknowledged = sum(metric(a.get("/metrics"), "tactus_actor_trajectories_total", 'outcome="acknowledged"') for a in actors)
    require(acknowledged <= accepted, f"the actors that run know of {acknowledged:.0f} acknowledged trajectories")


def play(world: World) -> None:
    learner = RunningPod(world, "tactus-learner-0", world.manifests.learners()[0], world.learner_address)
    learner.start()
    wait_for("the learner's startup and readiness probes", lambda: learner.passes("startupProbe") and learner.passes("readinessProbe"), learner)

    started = 0

    def new_actor() -> RunningPod:
        nonlocal started
        started += 1
        pod = RunningPod(world, f"tactus-actor-{started}", world.manifests.actors()[0], f"{SUBNET}.{20 + started}")
        pod.start()
        return pod

    def step() -> float:
        return metric(learner.get("/metrics"), "tactus_learner_step")

    def after(steps: int, actors: list[RunningPod]) -> None:
        goal = step() + steps
        wait_for(f"{steps} more steps with {len(actors)} actors, to step {goal:.0f}", lambda: step() >= goal, learner, *actors)

    actors = [new_actor()]
    wait_for("the actor's readiness probe", lambda: actors[0].passes("readinessProbe"), learner, actors[0])
    after(4, actors)
    actors += [new_actor() for _ in range(3)]
    wait_for("4 connected actors", lambda: metric(learner.get("/metrics"), "tactus_actors_connected") == 4, learner, *actors)
    after(8, actors)
    leaving, actors = actors[1:], actors[:1]
    codes = [pod.stop() for pod in leaving]
    require(codes == [0, 0, 0], f"three actors drained within their grace period, exit codes {codes}")
    after(6, actors)
    check_books(learner, actors)
    require(actors[0].restarts == 0, "the actor that stayed ran all the time")

    code = learner.stop()
    require(code == STOPPED_EARLY, f"the learner checkpointed and stopped on SIGTERM, exit code {code}")
    checkpoints = sorted((world.folder / "volume-tactus-run" / "checkpoints").glob("step-*"))
    require(bool(checkpoints), f"its newest checkpoint is {checkpoints[-1].name if checkpoints else 'missing'}")
    before = int(checkpoints[-1].name.removeprefix("step-"))
    learner.start()
    wait_for("the learner that started anew", lambda: learner.passes("readinessProbe"), learner)
    wait_for("an actor that found it, and a step beyond the checkpoint", lambda: step() > before, learner, *actors)
    require(actors[0].restarts == 0, "the actor waited for it")
    codes = [pod.stop() for pod in actors] + [learner.stop()]
    require(codes == [0, STOPPED_EARLY], f"everything stopped on SIGTERM, exit codes {codes}")
    lines = [line for pod in (learner, *actors) for line in pod.log().splitlines() if line.strip()]
    json_lines = [line for line in lines if line.startswith("{")]
    require(all("run" in json.loads(line) or "run_id" in json.loads(line) for line in json_lines) and len(json_lines) > 10,
          f"{len(json_lines)} of {len(lines)} log lines are JSON objects that name the run")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "release")
    parser.add_argument("--keep", type=pathlib.Path, help="leave logs and volumes in this new folder")
    parser.add_argument("--inside", type=pathlib.Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside is None:
        folder = arguments.keep or pathlib.Path(tempfile.mkdtemp(prefix="tactus-k8s-local-"))
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        probe = subprocess.run(["unshare", "--net", "--mount", "sh", "-c", "mount -t tmpfs tmpfs /run && ip link add x type bridge"],
                               capture_output=True, text=True)  # fmt: skip
        if probe.returncode != 0:
            skip(f"namespaces cannot be made here ({probe.stderr.strip()})")
        # A network and a /run/netns of its own: nothing of it is left on the machine.
        code = subprocess.call(["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c",
                                'mount -t tmpfs tmpfs /run && mkdir /run/netns && exec "$@"', "sh", sys.executable, __file__,
                                "--build", str(arguments.build.resolve()), "--inside", str(folder.resolve())])  # fmt: skip
        if arguments.keep is None and code == 0:
            shutil.rmtree(folder)
        elif code != 0:
            print(f"logs are in {folder}")
        sys.exit(code)
    play(World("kind-cpu", arguments.inside, arguments.build / "bin"))


if __name__ == "__main__":
    main()
