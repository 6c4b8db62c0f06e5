#!/usr/bin/env python3
"""Tests the packages of python/ as they lie in the tree, and as the wheels that are built of them.

    python3 scripts/check/python.py

Needs what scripts/setup.sh --lint puts into .venv, else it says so and ends with 77.
"""

import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from base.local import ROOT, skip  # noqa: E402

PYTHON = ROOT / ".venv/bin/python"
TEST_S, BUILD_S = 300, 120
PIP = ["-m", "pip", "--quiet", "--disable-pip-version-check", "--no-cache-dir"]
# What is asked of a package that is installed and alone.
PROBES = {
    "tactus_env": "import tactus_env.sandbox, tactus_env.math_reward\n"
                  "assert tactus_env.sandbox.run('print(1)', timeout_s=30).stdout == '1\\n'\n",
    "tactus_track": "import subprocess, tactus_track, tactus_track.__main__ as m\n"
                    "assert m.main(['none', 'mlflow', '--server', 'http://127.0.0.1:1', '--once']) == 2\n",
}  # fmt: skip


def run(arguments: list, folder: pathlib.Path, seconds: float) -> None:
    done = subprocess.run([PYTHON, *arguments], cwd=folder, timeout=seconds, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        sys.exit(f"failed: {' '.join(map(str, arguments))}")


def check_wheel(package: str, folder: pathlib.Path) -> None:
    source = ROOT / "python" / package
    # A copy, as building writes beside the sources.
    copy = folder / "source"
    copy.mkdir()
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "."], cwd=source, capture_output=True, text=True, check=True)
    for file in files.stdout.splitlines():
        (copy / file).parent.mkdir(parents=True, exist_ok=True)
        (copy / file).write_bytes((source / file).read_bytes())
    run([*PIP, "wheel", "--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", folder / "wheels", copy], folder, BUILD_S)
    (wheel,) = (folder / "wheels").glob(f"{package}-*-py3-none-any.whl")
    run([*PIP, "install", "--no-index", "--no-deps", "--target", folder / "installed", wheel], folder, BUILD_S)
    probe = (f"import sys\nsys.path.insert(0, {str(folder / 'installed')!r})\n{PROBES[package]}"
             f"assert {package}.__file__.startswith({str(folder)!r}), {package}.__file__\n")  # fmt: skip
    (folder / "probe.py").write_text(probe)
    run([folder / "probe.py"], folder, BUILD_S)


def main() -> None:
    modules = [PYTHON, "-c", "import grpc, math_verify, setuptools"]
    if not PYTHON.exists() or subprocess.run(modules, capture_output=True, timeout=60, check=False).returncode:
        skip("grpcio and math-verify are not in .venv: scripts/setup.sh --lint puts them there")
    for package in PROBES:
        run(["-m", "unittest", "discover", "-s", "tests", "-t", "."], ROOT / "python" / package, TEST_S)
        with tempfile.TemporaryDirectory() as name:
            check_wheel(package, pathlib.Path(name))
    print(f"{', '.join(PROBES)}: tests and wheels are fine")


if __name__ == "__main__":
    main()
