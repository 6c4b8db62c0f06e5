"""Programs of npm, for checks: of pinned versions, in a folder of .cache, not installed."""

import pathlib
import shutil
import subprocess

from base.local import skip

INSTALL_S = 180


def install(packages: list[str], cache: pathlib.Path, unchecked: str, within_s: float = INSTALL_S) -> None:
    """Puts the packages into the cache, once; leaves the process as skipped where there is no npm or no network."""
    if not shutil.which("npm") or not shutil.which("node"):
        skip(f"npm and node are not installed, so {unchecked} unchecked")
    wanted = "\n".join(packages)
    stamp = cache / "packages"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    cache.mkdir(parents=True, exist_ok=True)
    (cache / "package.json").write_text('{"private": true}\n')
    command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", *packages]
    try:
        done = subprocess.run(
            command, cwd=cache, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=within_s, check=False
        )
        problem = done.stderr.strip()[-200:] if done.returncode else ""
    except subprocess.TimeoutExpired:
        problem = f"it took more than {within_s} s"
    if problem:
        skip(f"npm could not install {' and '.join(packages)}, so {unchecked} unchecked: {problem}")
    stamp.write_text(wanted)
