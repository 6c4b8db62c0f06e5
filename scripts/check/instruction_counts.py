#!/usr/bin/env python3
"""Compares how many instructions six pieces of work take with what bench/instruction_counts.json says: no clock is read.

    python3 scripts/check/instruction_counts.py --build build/release [--write] [--self-test]

valgrind counts those of bench/instruction_bench.cc between its marks, in about half a minute. It shows every program the same CPU, one with
AVX2, so the counts depend on the compiler and the system's libraries alone; both are named in the file, and where they differ, or the
build is not a plain release, the check says so and ends with 77. A count that is more than 3 % off fails, a lower one too: --write
then commits the new one, and the commit says why. --self-test runs work whose loop goes round twice, which must be found.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from base.local import ROOT, skip  # noqa: E402

COMMITTED = ROOT / "bench/instruction_counts.json"
PIECES = ("product", "attention", "sampling", "codec", "delta", "tokenizer")
TOLERANCE = 0.03
RUN_S = 100
AT_ONCE = 2


def count(program: pathlib.Path, piece: str, times: int = 1) -> int:
    """Instructions of the piece's work, `times` over."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "out"
        command = ["valgrind", "--quiet", "--tool=callgrind", "--toggle-collect=CountedWork*", f"--callgrind-out-file={out}"]
        environment = os.environ | {"TACTUS_ISA": "avx2"}
        done = subprocess.run([*command, program, piece, str(times)], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=RUN_S, check=False)  # fmt: skip
        if done.returncode != 0 or not out.exists():
            sys.exit(f"{piece}: exit code {done.returncode}: {done.stderr.strip()[-500:]}")
        total = re.search(r"^(?:totals|summary): (\d+)", out.read_text(errors="replace"), re.MULTILINE)
    if total is None or int(total[1]) == 0:
        sys.exit(f"{piece}: valgrind counted nothing: is CountedWork still a function of its own?")
    return int(total[1])


def judge(counts: dict[str, int], committed: dict[str, int]) -> list[str]:
    """One sentence for each piece that is not as it was."""
    wrong = [f"{piece}: counted, but not in {COMMITTED.name}" for piece in counts.keys() - committed.keys()]
    wrong += [f"{piece}: in {COMMITTED.name}, but not counted" for piece in committed.keys() - counts.keys()]
    for piece in sorted(counts.keys() & committed.keys()):
        change = counts[piece] / committed[piece] - 1
        if abs(change) > TOLERANCE:
            wrong.append(f"{piece}: {counts[piece]:,} instructions instead of {committed[piece]:,} ({change:+.1%}, at most ±{TOLERANCE:.0%})")
    return sorted(wrong)


def built_with(build: pathlib.Path) -> dict[str, str]:
    """What a count depends on besides the code; ends the process where nothing can be compared."""
    cache = dict(re.findall(r"^(\w+):\w+=(.*)$", (build / "CMakeCache.txt").read_text(), re.MULTILINE))
    if cache.get("CMAKE_BUILD_TYPE") != "Release" or cache.get("TACTUS_SANITIZE") or cache.get("TACTUS_ASSERTIONS") == "ON":
        skip("the counts are of a release build without assertions and sanitizers")
    if cache.get("CMAKE_CXX_FLAGS"):
        skip(f"the build has flags of its own ({cache['CMAKE_CXX_FLAGS']})")
    compiler = subprocess.run([cache["CMAKE_CXX_COMPILER"], "--version"], capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()[0]
    libc = subprocess.run(["getconf", "GNU_LIBC_VERSION"], capture_output=True, text=True, timeout=60, check=False).stdout.strip()
    return {"compiler": re.sub(r"^\S+ ", "", compiler), "libc": libc}


def ready(build: pathlib.Path) -> tuple[pathlib.Path, dict[str, str]]:
    program = build / "bin/instruction_bench"
    if not shutil.which("valgrind"):
        skip("valgrind is not installed: scripts/setup.sh --lint installs it")
    if " avx2 " not in pathlib.Path("/proc/cpuinfo").read_text():
        skip("this CPU has no AVX2, whose kernels are counted")
    system = built_with(build)
    if not program.exists():
        sys.exit(f"there is no {program}")
    return program, system


def compare(build: pathlib.Path, write: bool) -> int:
    program, system = ready(build)
    committed = json.loads(COMMITTED.read_text()) if COMMITTED.exists() else {"counts": {}}
    there = {key: committed.get(key) for key in system}
    if not write and there != system:
        skip(f"the counts are of {' and '.join(map(str, there.values()))}, this is {' and '.join(system.values())}")
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        counts = dict(zip(PIECES, pool.map(lambda piece: count(program, piece), PIECES), strict=True))
    if write:
        COMMITTED.write_text(json.dumps(system | {"counts": counts}, indent=2) + "\n")
        print(f"wrote {COMMITTED.relative_to(ROOT)}")
        return 0
    wrong = judge(counts, committed["counts"])
    for line in wrong:
        print(line)
    if wrong:
        print(f"Where that is meant, `{pathlib.Path(__file__).relative_to(ROOT)} --build {build} --write` notes the new counts.")
    else:
        most = max(abs(counts[piece] / committed["counts"][piece] - 1) for piece in counts)
        print(f"instructions: {len(counts)} pieces, the farthest from its committed count by {most:.2%}")
    return 1 if wrong else 0


SEEDED = [  # counted, committed, how many findings
    ({"a": 1000, "b": 500}, {"a": 1000, "b": 500}, 0),
    ({"a": 1029, "b": 486}, {"a": 1000, "b": 500}, 0),
    ({"a": 1031}, {"a": 1000}, 1),
    ({"a": 969}, {"a": 1000}, 1),
    ({"a": 2000, "b": 1000}, {"a": 1000, "b": 500}, 2),
    ({"a": 1000, "c": 1}, {"a": 1000}, 1),
    ({"a": 1000}, {"a": 1000, "c": 1}, 1),
]


def self_test(build: pathlib.Path) -> int:
    for counts, committed, findings in SEEDED:
        if len(judge(counts, committed)) != findings:
            print(f"{counts} beside {committed}: {judge(counts, committed)}, expected {findings} findings")
            return 1
    program, _ = ready(build)
    once, twice = (count(program, "sampling", times) for times in (1, 2))
    if judge({"sampling": once}, {"sampling": once}) or not judge({"sampling": twice}, {"sampling": once}):
        print(f"a loop that goes round twice was not found: {once:,} and {twice:,} instructions")
        return 1
    print(f"instructions: {len(SEEDED)} seeded counts judged rightly, and a doubled loop found ({once:,} and {twice:,})")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, required=True, help="build folder, as in build/release")
    parser.add_argument("--write", action="store_true", help="note the counts instead of comparing")
    parser.add_argument("--self-test", action="store_true", help="show that a doubled loop is found")
    args = parser.parse_args()
    build = args.build.resolve()
    return self_test(build) if args.self_test else compare(build, args.write)


if __name__ == "__main__":
    sys.exit(main())
