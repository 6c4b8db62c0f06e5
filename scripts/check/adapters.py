#!/usr/bin/env python3
"""The adapters of python/tactus_env for OpenEnv and verifiers, against environments made with these packages.

    python3 scripts/check/adapters.py

Runs their tests, which the tests of the package leave out where the packages are not, in a Python environment of its own,
.cache/adapters (1 GB, so by night). Where the packages cannot be had it says so and ends with 77.
"""

import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from base.local import ROOT  # noqa: E402
from base.venv import with_packages  # noqa: E402

PACKAGES = ["openenv==0.10.0", "verifiers==0.3.1", "grpcio==1.85.3", "protobuf==7.36.2"]
PACKAGE = ROOT / "python/tactus_env"
TEST_S = 600


def main() -> None:
    python = with_packages("adapters", PACKAGES) / "bin/python"
    for test in ("tests.test_openenv", "tests.test_verifiers"):
        # As imports of their own, so that a package that has gone is no skip.
        command = [python, "-c", f"import openenv, verifiers, unittest; unittest.main('{test}', argv=['{test}'])"]
        done = subprocess.run(command, cwd=PACKAGE, env=os.environ | {"PYTHONPATH": str(PACKAGE), "HF_HUB_OFFLINE": "1"}, timeout=TEST_S,
                              check=False, stdin=subprocess.DEVNULL)  # fmt: skip
        if done.returncode != 0:
            sys.exit(f"failed: {test}")


if __name__ == "__main__":
    main()
