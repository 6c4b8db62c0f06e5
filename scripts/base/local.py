"""What checks share that start programs on this machine: ports, waits, ends, and expectations that are printed.

A script names its room's modules and these as packages, from scripts/: it puts that folder on sys.path itself, so it can be
called from anywhere.
"""

import contextlib
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable

ROOT = pathlib.Path(__file__).resolve().parents[2]
SKIPPED = 77  # exit code of a check that could not run; its last line says why


def skip(why: str) -> None:
    """Ends the process."""
    print(f"skipped: {why}")
    sys.exit(SKIPPED)


def yaml_module():
    """PyYAML: this Python's or, where Debian's package serves another one, that one's, in this process's place."""
    try:
        import yaml
    except ImportError:
        other = "/usr/bin/python3"
        same = os.path.realpath(sys.executable) == os.path.realpath(other)
        if same or subprocess.run([other, "-c", "import yaml"], capture_output=True, timeout=60, check=False).returncode:
            skip("PyYAML not found: scripts/setup.sh --lint installs python3-yaml")
        os.execv(other, [other, *sys.argv])
    return yaml


def free_port() -> int:
    """A port of loopback that nobody listens on, and none that the kernel gives to connections, where there are others. Another
    process may take it before the caller does."""
    first = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for _ in range(100 if first > 10_000 else 0):
        with contextlib.suppress(OSError), socket.socket() as s:
            s.bind(("127.0.0.1", random.randrange(10_000, first)))
            return s.getsockname()[1]
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def read_url(url: str, timeout_s: float = 3) -> tuple[int, str]:
    """The HTTP status and body; status 0 when nobody answers."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # proxies of the environment are for the world
    try:
        with direct.open(url, timeout=timeout_s) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")
    except OSError:
        return 0, ""


def wait(condition: Callable[[], object], seconds: float, every_s: float = 0.1):
    """The condition's first true value, or its last one when so many seconds are over."""
    end = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < end:
        time.sleep(every_s)
    return value


def stop(process: subprocess.Popen, grace_s: float, sign: signal.Signals = signal.SIGTERM) -> int | None:
    """Ends a process that leads a session: by the signal, and past the grace by SIGKILL to the session; then None."""
    if process.poll() is None:
        process.send_signal(sign)
    try:
        return process.wait(grace_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return None


class Expectations:
    """Prints a line for each expectation and remembers those that do not hold."""

    def __init__(self, about: str = "") -> None:
        self.about = f"{about}: " if about else ""
        self.failures: list[str] = []

    def expect(self, holds: object, what: str) -> bool:
        print(f"{'ok' if holds else 'FAILED':6} {self.about}{what}", flush=True)
        if not holds:
            self.failures.append(what)
        return bool(holds)


def require(holds: object, what: str) -> None:
    """An expectation without which there is no going on: ends the process with 1."""
    expectation = Expectations()
    expectation.expect(holds, what)
    if expectation.failures:
        sys.exit(1)
