#!/usr/bin/env python3
"""Tests python/tactus_env as it lies in the tree, and as the wheel that is built of it.

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
PACKAGE = ROOT / "python/tactus_env"
TEST_S, BUILD_S = 300, 120


def run(arguments: list, folder: pathlib.Path, seconds: float) -> None:
    done = subprocess.run([PYTHON, *arguments], cwd=folder, timeout=seconds, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        sys.exit(f"failed: {' '.join(map(str, arguments))}")


def main() -> None:
    modules = [PYTHON, "-c", "import grpc, math_verify, setuptools"]
    if not PYTHON.exists() or subprocess.run(modules, capture_output=True, timeout=60, check=False).returncode:
        skip("grpcio and math-verify are not in .venv: scripts/setup.sh --lint puts them there")
    run(["-m", "unittest", "discover", "-s", "tests", "-t", "."], PACKAGE, TEST_S)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        pip = ["-m", "pip", "--quiet", "--disable-pip-version-check", "--no-cache-dir"]
        # A copy, as building writes beside the sources.
        copy = folder / "source"
        copy.mkdir()
        files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "."], cwd=PACKAGE, capture_output=True, text=True, check=True)
        for file in files.stdout.splitlines():
            (copy / file).parent.mkdir(parents=True, exist_ok=True)
            (copy / file).write_bytes((PACKAGE / file).read_bytes())
        run([*pip, "wheel", "--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", folder / "wheels", copy], folder, BUILD_S)
        (wheel,) = (folder / "wheels").glob("tactus_env-*-py3-none-any.whl")
        run([*pip, "install", "--no-index", "--no-deps", "--target", folder / "installed", wheel], folder, BUILD_S)
        code = ("import tactus_env, tactus_env.sandbox, tactus_env.math_reward as m; "
                "assert tactus_env.__file__.startswith({0!r}), tactus_env.__file__; "
                "assert tactus_env.sandbox.run('print(1)', timeout_s=30).stdout == '1\\n'")  # fmt: skip
        (folder / "probe.py").write_text(f"import sys\nsys.path.insert(0, {str(folder / 'installed')!r})\n" + code.format(str(folder)))
        run([folder / "probe.py"], folder, BUILD_S)
    print("tactus_env: tests and wheel are fine")


if __name__ == "__main__":
    main()
