#!/usr/bin/env python3
"""Runs the GoogleTest binaries of a build and the script checks; the last line is "N passed, N failed[, N skipped]".

    python3 scripts/run_tests.py --build build/release [PATTERN ...]

Two binaries run at once, each at most TIMEOUT_S. A case is one GoogleTest case or one script check; a binary that crashes,
hangs or can't be read counts as one failed case more than those it reported. Exit code 1 when anything failed. With a
PATTERN (as in 'ledger_*') only the binaries whose names match run, and no script check.
"""

import argparse
import concurrent.futures
import dataclasses
import fnmatch
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
AT_ONCE = 2
TIMEOUT_S = 600
TIDY_FILES, TIDY_S = 6, 240
LOG_LINES = 200  # of a failed binary's log, from its end
SKIPPED = 77  # exit code of a script check that could not run; its last line says why
MONITORING = ("rules", "dashboards", "types", "alertmanager", "compose", "runbook")


@dataclasses.dataclass
class Outcome:
    name: str
    passed: int = 0
    failed: list[str] = dataclasses.field(default_factory=list)
    skipped: list[str] = dataclasses.field(default_factory=list)
    log: str = ""
    seconds: float = 0.0


def run_bounded(command: list[str], timeout_s: float, cwd: pathlib.Path, env: dict | None = None) -> tuple[int | None, str]:
    """Exit code (None: out of time) and all output. The whole process group ends with the command."""
    process = subprocess.Popen(
        command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True, text=True, errors="replace",
    )
    try:
        output, _ = process.communicate(timeout=timeout_s)
        return process.returncode, output
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        return None, output


def skip_reason(log: str, case: str) -> str:
    """What GTEST_SKIP() said; GoogleTest's JSON leaves it out."""
    match = re.search(r"\[ RUN      \] " + re.escape(case) + r"\n(.*?)\[  SKIPPED \]", log, re.DOTALL)
    lines = [x for x in match.group(1).splitlines() if x.strip()] if match else []
    return " ".join(x.strip() for x in lines if not x.endswith(": Skipped")) or "no reason given"


def read_report(outcome: Outcome, report: pathlib.Path) -> None:
    for suite in json.loads(report.read_text())["testsuites"]:
        for test in suite["testsuite"]:
            case = f"{suite['name']}.{test['name']}"
            if test.get("failures"):
                outcome.failed.append(case)
            elif test["result"] == "SKIPPED":
                outcome.skipped.append(f"{case}: {skip_reason(outcome.log, case)}")
            elif test["status"] == "RUN":
                outcome.passed += 1


def read_broken_log(outcome: Outcome, how: str) -> None:
    """Counts from the log of a binary that wrote no report."""
    body = outcome.log.split("[==========]")
    text = body[1] if len(body) > 1 else outcome.log
    outcome.passed = len(re.findall(r"^\[       OK \]", text, re.MULTILINE))
    outcome.failed = re.findall(r"^\[  FAILED  \] (\S+)", text, re.MULTILINE)
    started = re.findall(r"^\[ RUN      \] (\S+)", text, re.MULTILINE)
    ended = set(re.findall(r"^\[ (?:      OK|  FAILED | SKIPPED) \] (\S+)", text, re.MULTILINE))
    running = [case for case in started if case not in ended]
    outcome.failed.append(f"{outcome.name} {how}" + (f" in {running[-1]}" if running else ""))


def run_binary(binary: pathlib.Path, scratch: pathlib.Path) -> Outcome:
    outcome = Outcome(binary.name)
    folder = scratch / binary.name
    folder.mkdir(parents=True)
    report = folder / "report.json"
    env = os.environ | {"TEST_TMPDIR": str(folder), "GTEST_COLOR": "no"}
    start = time.monotonic()
    code, outcome.log = run_bounded([str(binary), f"--gtest_output=json:{report}"], TIMEOUT_S, folder, env)
    outcome.seconds = time.monotonic() - start
    if code is None:
        read_broken_log(outcome, f"ran past {TIMEOUT_S} s")
    elif code not in (0, 1) or not report.exists():
        how = f"died of signal {signal.Signals(-code).name}" if code < 0 else f"left with exit code {code}"
        read_broken_log(outcome, how)
    else:
        read_report(outcome, report)
        if code != 0 and not outcome.failed:
            outcome.failed.append(f"{binary.name} left with exit code {code} though no case failed")
        if not outcome.passed and not outcome.failed and not outcome.skipped:
            outcome.failed.append(f"{binary.name} holds no test")
    return outcome


def check(name: str, command: list[str], timeout_s: float = 120) -> Outcome:
    """One script check as one case."""
    start = time.monotonic()
    code, log = run_bounded(command, timeout_s, ROOT)
    outcome = Outcome(name, log=log, seconds=time.monotonic() - start)
    if code == 0:
        outcome.passed = 1
    elif code == SKIPPED:
        outcome.skipped.append(f"{name}: {(log.splitlines() or ['no reason given'])[-1].removeprefix('skipped: ')}")
    else:
        outcome.failed.append(f"{name}: " + ("out of time" if code is None else f"exit code {code}"))
    return outcome


def skipped_check(name: str, why: str) -> Outcome:
    return Outcome(name, skipped=[f"{name}: {why}"])


def cluster_checks(build: pathlib.Path) -> list[Outcome]:
    """SLURM, and the manifests: without a cluster, and against a real API server where its binaries are cached."""
    python = sys.executable
    outcomes = [
        check("k8s.self_test", [python, "scripts/k8s/check.py", "--self-test"]),
        check("k8s.preflight", [python, "scripts/k8s/preflight.py", "--self-test"]),
        check("k8s.end", [python, "scripts/k8s/end_check.py"], 300),
        check("k8s.manifests", [python, "scripts/k8s/check.py", "--build", str(build)]),
    ]
    for outcome in outcomes:
        outcome.skipped += [x.strip() for x in outcome.log.splitlines() if x.startswith("SKIPPED")]
    if (build / "bin" / "tactus-actor").exists():
        outcomes.append(check("k8s.local_run", [python, "scripts/k8s/run_local.py", "--build", str(build)], 400))
        outcomes.append(check("k8s.lost_disk", [python, "scripts/k8s/lost_disk.py", "--build", str(build)], 400))
        outcomes.append(check("k8s.scale_local", [python, "scripts/k8s/scale_local.py", "--build", str(build)], 400))
    if (build / "bin" / "tactus-actor").exists():
        outcomes.append(check("slurm", [python, "scripts/check/slurm.py", "--build", str(build)], 700))
    return outcomes + [check("k8s.api_server", [python, "scripts/k8s/apiserver_check.py"], 240)]


def script_checks(build: pathlib.Path) -> list[Outcome]:
    python = sys.executable
    outcomes = [
        check("layers.self_test", [python, "scripts/check/layers.py", "--self-test"]),
        check("layers.tree", [python, "scripts/check/layers.py"]),
        check("exceptions.self_test", [python, "scripts/check/exceptions.py", "--self-test"]),
        check("exceptions.tree", [python, "scripts/check/exceptions.py"]),
        check("clocks.self_test", [python, "scripts/check/clocks.py", "--self-test"]),
        check("clocks.tree", [python, "scripts/check/clocks.py"]),
        check("sizes.self_test", [python, "scripts/check/sizes.py", "--self-test"]),
        check("sizes.tree", [python, "scripts/check/sizes.py"]),
        check("docs.self_test", [python, "scripts/check/docs.py", "--self-test"]),
        check("docs.tree", [python, "scripts/check/docs.py"]),
        check("web", [python, "scripts/check/web.py"], 300),
        check("python", [python, "scripts/check/python.py"], 400),
        check("thread_safety.self_test", [python, "scripts/check/thread_safety.py", "--self-test"]),
        check("thread_safety.tree", [python, "scripts/check/thread_safety.py", "--build", str(build)], 600),
        check("instructions.self_test", [python, "scripts/check/instruction_counts.py", "--build", str(build), "--self-test"]),
        check("instructions.tree", [python, "scripts/check/instruction_counts.py", "--build", str(build)]),
        *cluster_checks(build),
    ]
    for name in MONITORING:
        command = [python, "scripts/monitoring/check.py", name, "--build", str(build)]
        outcomes.append(check(f"monitoring.{name}", command))
    if re.search(r"^TACTUS_SANITIZE:\w+=.", (build / "CMakeCache.txt").read_text(), re.MULTILINE):
        outcomes.append(skipped_check("monitoring.live", "under a sanitizer the run is too slow to be watched every second"))
        outcomes.append(skipped_check("documented", "under a sanitizer its commands take too long"))
    else:
        for name in ("live", "truth"):
            outcomes.append(check(f"monitoring.{name}", [python, f"scripts/monitoring/{name}.py", "--build", str(build)], 600))
        if (build / "bin" / "tactus-actor").exists():
            outcomes.append(check("environments.examples", [python, "scripts/check/environments.py", "examples", "--build", str(build)], 900))
            outcomes.append(check("environments.tool_use", [python, "scripts/check/environments.py", "tool_use", "--build", str(build)], 900))
            outcomes.append(check("environments.faults", [python, "scripts/check/environments.py", "faults", "--build", str(build)], 900))
            outcomes.append(check("storage", [python, "scripts/check/storage.py", "--build", str(build)], 900))
            outcomes.append(check("documented", [python, "scripts/check/documented.py", "--build", str(build)], 900))
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        return outcomes + [skipped_check("format", "not a git checkout, so nothing says which files changed")]
    _, listing = run_bounded(["scripts/check/changed_files.sh"], 60, ROOT)
    changed = [f for f in listing.splitlines() if (ROOT / f).exists()]
    if not changed:
        return outcomes
    if shutil.which("clang-format"):
        outcomes.append(check("format", ["clang-format", "--dry-run", "-Werror", *changed]))
    else:
        outcomes.append(skipped_check("format", "clang-format is not installed (scripts/setup.sh --lint)"))
    sources = [f for f in changed if f.endswith(".cc")][:TIDY_FILES]
    if os.environ.get("CI") == "true" and shutil.which("clang-tidy") and sources:
        outcomes.append(tidy(build, sources))
    return outcomes


def tidy(build: pathlib.Path, sources: list[str]) -> Outcome:
    """clang-tidy on a few changed files; too slow a machine skips it, since CI must end."""
    command = ["clang-tidy", "--quiet", "-p", str(build), "--extra-arg=-Wno-unknown-warning-option", *sources]
    outcome = check("tidy", command, TIDY_S)
    if outcome.failed == ["tidy: out of time"]:
        return skipped_check("tidy", f"{len(sources)} files took more than {TIDY_S} s")
    return outcome


def show(outcome: Outcome) -> None:
    verdict = "FAILED" if outcome.failed else "ok"
    counts = f"{outcome.passed} passed"
    counts += f", {len(outcome.failed)} failed" if outcome.failed else ""
    counts += f", {len(outcome.skipped)} skipped" if outcome.skipped else ""
    print(f"{verdict:6} {outcome.name} ({counts}, {outcome.seconds:.1f} s)", flush=True)


def summarise(outcomes: list[Outcome]) -> int:
    for outcome in outcomes:
        if outcome.failed:
            lines = outcome.log.splitlines()
            print(f"\n==== {outcome.name}: log" + (f", last {LOG_LINES} lines" if len(lines) > LOG_LINES else ""))
            print("\n".join(lines[-LOG_LINES:]))
    for title, lines in (
        ("warned of", [x for o in outcomes if o.name == "sizes.tree" for x in o.log.splitlines() if x.startswith("warning: ")]),
        ("skipped", [s for o in outcomes for s in o.skipped]),
        ("failed", [f for o in outcomes for f in o.failed]),
    ):
        if lines:
            print(f"\n{title}:")
            print("\n".join(f"  {line}" for line in lines))
    passed, failed = sum(o.passed for o in outcomes), sum(len(o.failed) for o in outcomes)
    skipped = sum(len(o.skipped) for o in outcomes)
    print(f"\n{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or not passed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, required=True, help="build folder, as in build/release")
    parser.add_argument("patterns", nargs="*", metavar="PATTERN")
    args = parser.parse_args()
    build = args.build.resolve()
    patterns = args.patterns or ["*"]
    binaries = sorted(p for p in (build / "tests").iterdir() if p.is_file() and os.access(p, os.X_OK))
    binaries = [p for p in binaries if any(fnmatch.fnmatch(p.name, pattern) for pattern in patterns)]
    if not binaries:
        print(f"no test binary in {build}/tests matches {' '.join(patterns)}", file=sys.stderr)
        return 2
    os.environ["PATH"] += f"{os.pathsep}{ROOT}/.cache/prometheus/usr/bin"  # scripts/setup.sh --lint unpacks promtool there
    scratch = build / "test-scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    outcomes = []
    with concurrent.futures.ThreadPoolExecutor(min(AT_ONCE, os.cpu_count() or 1)) as pool:
        for job in concurrent.futures.as_completed([pool.submit(run_binary, b, scratch) for b in binaries]):
            outcomes.append(job.result())
            show(outcomes[-1])
    if not args.patterns:
        checks = script_checks(build)
        for outcome in checks:
            show(outcome)
        outcomes += checks
    shutil.rmtree(scratch, ignore_errors=True)
    return summarise(outcomes)


if __name__ == "__main__":
    sys.exit(main())
