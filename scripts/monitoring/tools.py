"""Finds the programs that the checks call, and says why one is skipped."""

import functools
import pathlib
import shutil
import subprocess

from base.local import ROOT, skip, yaml_module

UNPACKED = ROOT / ".cache" / "prometheus" / "usr" / "bin"  # where scripts/setup.sh --lint unpacks Debian's packages


def find(name: str) -> str | None:
    """Path of promtool, amtool, prometheus or prometheus-alertmanager; None = neither unpacked nor installed."""
    return shutil.which(name) or shutil.which(name, path=str(UNPACKED))


def need(*names: str) -> list[str]:
    """Paths of all of them; leaves the process as skipped if one is missing."""
    paths = [find(name) for name in names]
    missing = [n for n, p in zip(names, paths) if p is None]
    if missing:
        skip(f"{', '.join(missing)} not found: scripts/setup.sh --lint gets them from Debian")
    return paths


def call(command: list[str], timeout_s: float = 120, **kwargs) -> tuple[int, str]:
    """Exit code and all output."""
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
        check=False,
        stdin=subprocess.DEVNULL,
        **kwargs,
    )
    return done.returncode, done.stdout


@functools.cache
def help_of(*command: str) -> tuple[int, str]:
    """Exit code and text of `command --help`."""
    return call([*command, "--help"])


def load_yaml(path: pathlib.Path):
    """The document in a YAML file."""
    return yaml_module().safe_load(path.read_text())
