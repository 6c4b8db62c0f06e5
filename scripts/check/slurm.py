#!/usr/bin/env python3
"""Runs deploy/slurm/tactus.sbatch under a real SLURM of one node on this machine: trains, is preempted, requeued, and ends.

    python3 scripts/check/slurm.py [--build build/release]

Starts slurmctld and slurmd (Debian: slurmctld, slurmd, slurm-client) on loopback ports and in a temporary folder, submits the
quick start into a partition of low priority, then a job of high priority that needs the whole node, and waits until the run has
been requeued, has resumed from its checkpoint and is complete. Needs root, since slurmd does. Exit code 77 where it is missing.
"""

import argparse
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from base.local import ROOT, Expectations, free_port, skip, wait  # noqa: E402

STEPS, WAIT_S, CPUS = 14, 300, 8
SMALL = ["rollout.prompts_per_step=4", "rollout.completions_per_prompt=2", "learner.threads=1", "eval.max_prompts=0", f"learner.steps={STEPS}"]
CONFIG = """\
ClusterName=check
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
AuthType=auth/none
CredType=cred/none
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=60
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=120 State=UP
PartitionName=high Nodes=ALL PriorityTier=10 PreemptMode=OFF State=UP
"""


class Slurm(Expectations):
    def __init__(self, folder: pathlib.Path, binaries: pathlib.Path) -> None:
        super().__init__("slurm")
        self.folder, self.processes = folder, []
        (folder / "state").mkdir()
        (folder / "spool").mkdir()
        (folder / "slurm.conf").write_text(CONFIG.format(
            host=socket.gethostname().split(".")[0], folder=folder, controller=free_port(), node=free_port(), cpus=CPUS))  # fmt: skip
        self.env = os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": f"{binaries}:/usr/sbin:{os.environ['PATH']}",
                                 "RUN": str(folder / "run"), "CONFIG": str(ROOT / "configs/quickstart.textproto"),
                                 "SET": " ".join(f"--set={x}" for x in SMALL)}  # fmt: skip
        for program in ("slurmctld", "slurmd"):
            with open(folder / f"{program}.log", "wb") as log:
                self.processes.append(subprocess.Popen([f"/usr/sbin/{program}", "-D"], env=self.env, cwd=folder,
                                                       stdin=subprocess.DEVNULL, stdout=log, stderr=log))  # fmt: skip

    def call(self, *command: str) -> str:
        return subprocess.run(command, env=self.env, cwd=ROOT, capture_output=True, text=True, timeout=60).stdout.strip()

    def job(self, number: str) -> dict[str, str]:
        """The fields that scontrol shows."""
        return dict(word.partition("=")[::2] for word in self.call("scontrol", "show", "job", "-o", number).split())

    def steps(self) -> int:
        file = self.folder / "run" / "metrics.jsonl"
        return len(file.read_text().splitlines()) if file.exists() else 0

    def within(self, condition, what: str) -> bool:
        return self.expect(wait(condition, WAIT_S, every_s=0.5), what)

    def play(self) -> None:
        self.within(lambda: "idle" in self.call("sinfo", "-h", "-o", "%t"), "the node is there")
        number = self.call("sbatch", "--parsable", "--nodes=1", "--ntasks=4", f"--output={self.folder}/job.log",
                           "deploy/slurm/tactus.sbatch")  # fmt: skip
        self.within(lambda: self.steps() >= 2, f"job {number} trains")
        self.call("sbatch", "--parsable", "--partition=high", "--exclusive", "--ntasks=1", "--output=/dev/null", "--wrap=sleep 5")
        self.within(lambda: self.job(number).get("Restarts") == "1", "a job of higher priority preempts it, and it is requeued")
        stopped = self.steps()
        checkpoints = sorted(p.name for p in (self.folder / "run/checkpoints").glob("step-*"))
        self.expect(checkpoints[-1:] == [f"step-{stopped:06}"], f"... with a checkpoint of its last step, {stopped} ({checkpoints})")
        self.within(lambda: self.job(number).get("JobState") not in ("RUNNING", "PENDING", "CONFIGURING", "COMPLETING"), "it ends")
        job = self.job(number)
        self.expect((job.get("JobState"), job.get("ExitCode")) == ("COMPLETED", "0:0"), f"... {job.get('JobState')}, {job.get('ExitCode')}")
        self.expect(self.steps() == STEPS, f"... after all steps, none twice ({self.steps()})")

    def finish(self) -> None:
        self.call("scancel", "--user=root")
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self.failures:
            for log in sorted(self.folder.glob("*.log")):
                print(f"---- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-30:]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release", help="build folder")
    binaries = parser.parse_args().build.resolve() / "bin"
    if os.geteuid() or not all(shutil.which(p, path="/usr/sbin:/usr/bin") for p in ("slurmctld", "slurmd", "sbatch")):
        skip("needs root and Debian's slurmctld, slurmd and slurm-client")
    with tempfile.TemporaryDirectory(prefix="tactus-slurm-") as folder:
        slurm = Slurm(pathlib.Path(folder), binaries)
        try:
            slurm.play()
        finally:
            slurm.finish()
    return 1 if slurm.failures else 0


if __name__ == "__main__":
    sys.exit(main())
