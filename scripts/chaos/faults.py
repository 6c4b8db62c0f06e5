"""How a planned fault is done to the processes, their network, disk and clock, and undone."""

import fcntl
import math
import os
import pathlib
import shutil
import signal
import struct
import subprocess
from collections.abc import Callable

from chaos.schedule import Planned
from chaos.world import SUBNET, Member, World

DISK_MIB = 512  # an hour of steps leaves 250 MiB
LONGEST_JUMP_S, LONGEST_DELAY_S, HIGHEST_LOSS = 3600, 0.2, 30
FREEZE, THAW = 0xC0045877, 0xC0045878  # FIFREEZE, FITHAW of linux/fs.h
PULSE_TICKS = 5  # of a slow disk: it works in one of so many ticks

Heal = Callable[[], None]


def nothing() -> None:
    pass


def run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


class Faults:
    """A method per kind does the fault and returns what was hit and what heals it, or None when there is nothing to do it to."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.kinds: dict[str, Callable[[Planned], tuple[str, Heal] | None]] = {
            "actor.kill": lambda p: self._signal(self.world.actors, p, signal.SIGKILL),
            "actor.term": lambda p: self._signal(self.world.actors, p, signal.SIGTERM),
            "actor.stop": lambda p: self._stop(self.world.actors, p),
            "actor.join": self._join,
            "learner.kill": lambda p: self._signal(self.world.learners, p, signal.SIGKILL),
            "learner.term": lambda p: self._signal(self.world.learners, p, signal.SIGTERM),
            "learner.stop": lambda p: self._stop(self.world.learners, p),
            "net.delay": self._delay, "net.silence": self._silence, "net.cut": self._cut,
        }  # fmt: skip
        self.impossible: dict[str, str] = {}  # kinds that cannot be done here, and why
        self.device = ""  # of the disk
        self.disk_fd = -1  # its root, while it is slow
        self.ticks = 0

    def tick(self) -> None:
        """To be called all the time: the pulses of a slow disk."""
        if self.disk_fd < 0:
            return
        self.ticks += 1
        if self.ticks % PULSE_TICKS <= 1:
            fcntl.ioctl(self.disk_fd, FREEZE if self.ticks % PULSE_TICKS == 1 else THAW, 0)

    # Processes.

    def _one(self, members: list[Member], planned: Planned) -> Member | None:
        member = members[planned.target % len(members)]
        return member if member.running() and not member.frozen else None

    def _signal(self, members: list[Member], planned: Planned, sign: signal.Signals) -> tuple[str, Heal] | None:
        if member := self._one(members, planned):
            member.signal(sign)
            return member.name, nothing
        return None

    def _stop(self, members: list[Member], planned: Planned) -> tuple[str, Heal] | None:
        if not (member := self._one(members, planned)):
            return None
        popen = member.popen
        member.signal(signal.SIGSTOP)
        member.frozen = True

        def go_on() -> None:
            popen.send_signal(signal.SIGCONT)
            if member.popen is popen:
                member.frozen = False

        return member.name, go_on

    def _join(self, planned: Planned) -> tuple[str, Heal]:
        """An actor more, which leaves again."""
        actor = self.world.add_actor()

        def leave() -> None:
            actor.wanted = False
            actor.signal(signal.SIGTERM)

        return actor.name, leave

    # The relay, through which every other actor reaches the learner.

    def _delay(self, planned: Planned) -> tuple[str, Heal]:
        relay = self.world.relay
        relay.delay_s = planned.amount * LONGEST_DELAY_S

        def heal() -> None:
            relay.delay_s = 0

        return f"the relay by {relay.delay_s * 1000:.0f} ms", heal

    def _silence(self, planned: Planned) -> tuple[str, Heal]:
        relay = self.world.relay
        relay.silent = True

        def heal() -> None:
            relay.silent = False

        return "the relay", heal

    def _cut(self, planned: Planned) -> tuple[str, Heal]:
        self.world.relay.cut()
        return "the relay", nothing

    # Network namespaces: rank 1 and the other actors are in some; the link of one is taken down, or loses packets.

    def make_sites(self, count: int) -> None:
        """In the process's own network namespace; `ip netns` needs a /run that is its own, too."""
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "chaos", "type", "bridge")
        run("ip", "addr", "add", f"{SUBNET}.1/24", "dev", "chaos")
        run("ip", "link", "set", "chaos", "up")
        for i in range(count):
            name = f"site-{i}"
            run("ip", "netns", "add", name)
            run("ip", "link", "add", f"v{i}", "type", "veth", "peer", "name", "eth0", "netns", name)
            run("ip", "link", "set", f"v{i}", "master", "chaos", "up")
            for command in (["addr", "add", f"{SUBNET}.{i + 2}/24", "dev", "eth0"], ["link", "set", "eth0", "up"], ["link", "set", "lo", "up"]):
                run("ip", "-n", name, *command)
            self.world.sites.append(name)
        self.world.host = f"{SUBNET}.1"
        self.kinds["net.partition"] = self._partition
        if shutil.which("nft"):
            self.kinds["net.loss"] = self._loss
        else:
            self.impossible["net.loss"] = "nft is not installed (package nftables)"

    def _partition(self, planned: Planned) -> tuple[str, Heal]:
        i = planned.target % len(self.world.sites)
        run("ip", "link", "set", f"v{i}", "down")
        return f"site-{i}", lambda: run("ip", "link", "set", f"v{i}", "up")

    def _loss(self, planned: Planned) -> tuple[str, Heal]:
        site = self.world.sites[planned.target % len(self.world.sites)]
        percent = 1 + int(planned.amount * HIGHEST_LOSS)
        nft = ["ip", "netns", "exec", site, "nft"]
        rule = "add table inet chaos; add chain inet chaos in { type filter hook input priority 0; }; "
        rule += f"add rule inet chaos in meta iifname eth0 numgen random mod 100 < {percent} drop"
        run(*nft, rule)
        return f"{site} of {percent} %", lambda: run(*nft, "delete table inet chaos")

    # The disk: a file system in a file, mounted where the run folder is.

    def make_disk(self, image: pathlib.Path) -> None:
        mount = self.world.run
        with open(image, "wb") as file:
            file.truncate(DISK_MIB << 20)
        run("mkfs.ext4", "-q", "-F", "-m", "0", str(image))
        # What is below the mount can't be written to: a lost mount must not be taken for an empty folder.
        run("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mount))
        (mount / "run").mkdir()
        run("mount", "-o", "remount,ro", str(mount))
        self.world.run = mount / "run"
        device = subprocess.run(["losetup", "-f", "--show", str(image)], check=True, capture_output=True, text=True)
        self.device = device.stdout.strip()
        self._mount()
        self.kinds |= {"disk.full": self._fill, "disk.slow": self._slow, "disk.frozen": self._freeze, "disk.gone": self._lose}

    def _mount(self) -> None:
        # While processes still hold files of a lost mount, this is the very file system that they hold.
        run("mount", self.device, str(self.world.run))

    def _fill(self, planned: Planned) -> tuple[str, Heal]:
        ballast = self.world.run / "ballast"
        piece = DISK_MIB << 20
        with open(ballast, "wb") as file:
            while piece >= 4096:
                try:
                    os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, piece)
                except OSError:
                    piece //= 2
        return "the run folder", lambda: ballast.unlink(missing_ok=True)

    def _freeze(self, planned: Planned) -> tuple[str, Heal]:
        """Every write waits until the end."""
        run("fsfreeze", "-f", str(self.world.run))
        return "the run folder", lambda: run("fsfreeze", "-u", str(self.world.run))

    def _slow(self, planned: Planned) -> tuple[str, Heal]:
        """Every write waits for the next moment in which the disk works (tick)."""
        self.disk_fd, self.ticks = os.open(self.world.run, os.O_RDONLY | os.O_DIRECTORY), 0

        def heal() -> None:
            if self.ticks % PULSE_TICKS:
                fcntl.ioctl(self.disk_fd, THAW, 0)
            os.close(self.disk_fd)
            self.disk_fd = -1

        return "the run folder", heal

    def _lose(self, planned: Planned) -> tuple[str, Heal]:
        run("umount", "-l", str(self.world.run))
        return "the run folder", self._mount

    def unmake_disk(self) -> None:
        root = str(self.world.run)
        for command in (["fsfreeze", "-u", root], ["umount", "-l", root], ["umount", "-l", str(self.world.run.parent)],
                        ["losetup", "-d", self.device]):  # fmt: skip
            subprocess.run(command, check=False, stderr=subprocess.DEVNULL)

    # The clock, by clock_shim.c.

    def make_clock(self, shim: pathlib.Path) -> None:
        self.clock = self.world.folder / "clock"
        self.clock.write_bytes(struct.pack("<q", 0))
        self.world.environment |= {"LD_PRELOAD": str(shim), "CHAOS_CLOCK": str(self.clock)}
        self.kinds["clock.jump"] = self._jump

    def _jump(self, planned: Planned) -> tuple[str, Heal]:
        """Forward or back by a second to an hour, for all processes at once, and it stays so."""
        by = (-1 if planned.target % 2 else 1) * math.exp(planned.amount * math.log(LONGEST_JUMP_S))
        with open(self.clock, "r+b") as file:
            (offset,) = struct.unpack("<q", file.read(8))
            file.seek(0)
            file.write(struct.pack("<q", offset + int(by * 1e9)))
        return f"{by:+.0f} s", nothing
