#!/usr/bin/env python3
"""Runs deploy/slurm/tactus.sbatch under a real SLURM of one node on this machine: trains, is preempted, requeued, and ends.

    python3 scripts/check/slurm.py [--build build/release]

Starts slurmctld and slurmd (Debian: slurmctld, slurmd, slurm-client) on loopback ports and in a temporary folder, submits the
quick start into a partition of low priority, then a job of high priority that needs the whole node, and waits until the run has
been requeued, has resumed from its checkpoint and is complete. The run has no end in sight until it was preempted, and the other
job keeps the node until the run's end was set: however fast the machine, the order of things is the same. Needs root, since
slurmd does. Exit code 77 where it is missing.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from base.local import ROOT, Expectations, free_port, skip, wait  # noqa: E402

NO_END, MORE, WAIT_S, CPUS = 100_000, 6, 300, 8
SMALL = ["rollout.prompts_per_step=4", "rollout.completions_per_prompt=2", "learner.threads=1", "eval.max_prompts=0"]
CONFIG = """\
ClusterName=check
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
AuthType=auth/none
AuthInfo=cred_expire=5
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
        self.folder, self.config, self.processes = folder, folder / "run.textproto", []
        self.set_steps(NO_END)
        (folder / "state").mkdir()
        (folder / "spool").mkdir()
        (folder / "slurm.conf").write_text(CONFIG.format(
            host=socket.gethostname().split(".")[0], folder=folder, controller=free_port(), node=free_port(), cpus=CPUS))  # fmt: skip
        self.env = os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": f"{binaries}:/usr/sbin:{os.environ['PATH']}",
                                 "RUN": str(folder / "run"), "CONFIG": str(self.config),
                                 "SET": " ".join(f"--set={x}" for x in SMALL)}  # fmt: skip
        for program in ("slurmctld", "slurmd"):
            with open(folder / f"{program}.log", "wb") as log:
                self.processes.append(subprocess.Popen([f"/usr/sbin/{program}", "-D"], env=self.env, cwd=folder,
                                                       stdin=subprocess.DEVNULL, stdout=log, stderr=log))  # fmt: skip

    def set_steps(self, steps: int) -> None:
        text = (ROOT / "configs/quickstart.textproto").read_text()
        text, count = re.subn(r"(?m)^  steps: \d+$", f"steps: {steps}", text)
        assert count == 1, "configs/quickstart.textproto: expected one `steps: N`"
        self.config.write_text(text)

    def call(self, *command: str) -> str:
        return subprocess.run(command, env=self.env, cwd=ROOT, capture_output=True, text=True, timeout=60).stdout.strip()

    def job(self, number: str) -> dict[str, str]:
        """The fields that scontrol shows."""
        return dict(word.partition("=")[::2] for word in self.call("scontrol", "show", "job", "-o", number).split())

    def recorded(self) -> list[int]:
        """The steps of metrics.jsonl, in its order."""
        file = self.folder / "run" / "metrics.jsonl"
        return [json.loads(line)["step"] for line in file.read_text().splitlines()] if file.exists() else []

    def within(self, condition, what: str) -> bool:
        return self.expect(wait(condition, WAIT_S, every_s=0.5), what)

    def play(self) -> None:
        self.within(lambda: "idle" in self.call("sinfo", "-h", "-o", "%t"), "the node is there")
        number = self.call("sbatch", "--parsable", "--nodes=1", "--ntasks=4", f"--output={self.folder}/job.log",
                           "deploy/slurm/tactus.sbatch")  # fmt: skip
        self.within(lambda: len(self.recorded()) >= 2, f"job {number} trains")
        released = self.folder / "released"
        self.call("sbatch", "--parsable", "--partition=high", "--exclusive", "--ntasks=1", "--output=/dev/null",
                  f"--wrap=until [ -e {released} ]; do sleep 0.2; done")  # fmt: skip
        if not self.within(lambda: self.job(number).get("Restarts") == "1", "a job of higher priority preempts it, and it is requeued"):
            return
        stopped = len(self.recorded())
        checkpoints = sorted(p.name for p in (self.folder / "run/checkpoints").glob("step-*"))
        self.expect(checkpoints[-1:] == [f"step-{stopped:06}"], f"... with a checkpoint of its last step, {stopped} ({checkpoints})")
        self.set_steps(stopped + MORE)
        released.touch()
        self.within(lambda: self.job(number).get("JobState") not in ("RUNNING", "PENDING", "CONFIGURING", "COMPLETING"), "it ends")
        job = self.job(number)
        self.expect((job.get("JobState"), job.get("ExitCode")) == ("COMPLETED", "0:0"), f"... {job.get('JobState')}, {job.get('ExitCode')}")
        self.expect(self.recorded() == list(range(1, stopped + MORE + 1)), f"... after {MORE} more steps, none twice ({self.recorded()})")

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
