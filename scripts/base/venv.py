"""Python environments that a check has of its own, in .cache, as its packages are large and nothing else needs them."""

import pathlib
import subprocess
import sys

from base.local import ROOT, skip

INSTALL_S = 1200


def with_packages(name: str, packages: list[str]) -> pathlib.Path:
    """The folder .cache/NAME, made once. Where the packages cannot be had the process ends as skipped."""
    folder, wanted = ROOT / ".cache" / name, " ".join(packages)
    stamp = folder / "packages"
    if stamp.exists() and stamp.read_text() == wanted:
        return folder
    pip = [folder / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--only-binary=:all:"]
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True, timeout=INSTALL_S)
        subprocess.run([*pip, *packages], check=True, timeout=INSTALL_S)
    except (subprocess.SubprocessError, OSError) as error:
        skip(f"{wanted} cannot be installed: {error}")
    stamp.write_text(wanted)
    return folder
