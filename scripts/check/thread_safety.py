#!/usr/bin/env python3
"""Reads the locks' annotations (ABSL_GUARDED_BY and its like) with clang, as errors.

    python3 scripts/check/thread_safety.py [--build build/release] [--self-test]

Compiles, without making anything, each product source that names a mutex or an annotation, or whose own headers do. Commands come
from the build's compile_commands.json. --self-test checks that a seeded violation is found. Exit code 77 where there is no
clang (scripts/setup.sh --lint).
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from base.local import ROOT, skip  # noqa: E402

TOPS = ("common", "actor", "learner", "tools")
LOCKS = re.compile(r"absl/(synchronization/mutex|base/thread_annotations)\.h|\bABSL_(GUARDED_BY|\w*LOCKS?_\w+)\b")
INCLUDE = re.compile(r'^#include "([^"]+)"', re.M)
FLAGS = ["-fsyntax-only", "-Wno-everything", "-Wthread-safety", "-Werror=thread-safety"]
TIMEOUT_S = 300
SEEDED = """
#include "absl/synchronization/mutex.h"
struct Counter {
  void Add() { ++count; }
  absl::Mutex mu;
  int count ABSL_GUARDED_BY(mu) = 0;
};
int main() { Counter().Add(); }
"""


def has_locks(path: pathlib.Path, seen: dict[pathlib.Path, bool]) -> bool:
    """Whether a file or a header of the tree that it includes, and so on, speaks of locks."""
    if path not in seen:
        seen[path] = False  # while it is looked at: includes run in no circle
        text = path.read_text() if path.is_file() else ""
        seen[path] = bool(LOCKS.search(text)) or any(has_locks(ROOT / name, seen) for name in INCLUDE.findall(text))
    return seen[path]


def clang_command(entry: dict) -> list[str]:
    """The compiler's command with clang in its place, and without what would be written or only gcc knows."""
    words = shlex.split(entry["command"])
    start = next(i for i, word in enumerate(words) if re.search(r"(^|/)(c\+\+|g\+\+|clang\+\+)[-\d.]*$", word))
    kept, skip_next = [], False
    for word in words[start + 1 :]:
        if skip_next or word in ("-o", "-c", "-MF", "-MT", "-MQ"):
            skip_next = not skip_next and word in ("-o", "-MF", "-MT", "-MQ")
        elif not re.match(r"-(W|M|fsanitize|fno-sanitize)", word):
            kept.append(word)
    return ["clang++", *kept, *FLAGS]


def analyse(entry: dict) -> str:
    """What clang objects to; empty: nothing."""
    try:
        done = subprocess.run(clang_command(entry), cwd=entry["directory"], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"{entry['file']}: clang took more than {TIMEOUT_S} s\n"
    return done.stderr if done.returncode else ""


def self_test() -> int:
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder, "seeded.cc")
        source.write_text(SEEDED)
        found = analyse({"command": f"/usr/bin/c++ -std=c++20 -Wall -o x.o -c {source}", "directory": folder, "file": str(source)})
    print(found or "the seeded violation was not found")
    return 0 if "requires holding mutex" in found else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--self-test", action="store_true")
    arguments = parser.parse_args()
    if not shutil.which("clang++"):
        skip("clang++ is not installed (scripts/setup.sh --lint)")
    if arguments.self_test:
        return self_test()
    seen: dict[pathlib.Path, bool] = {}
    entries = [
        e
        for e in json.loads((arguments.build / "compile_commands.json").read_text())
        if e["file"].endswith(".cc")
        and os.path.relpath(e["file"], ROOT).split("/")[0] in TOPS
        and has_locks(pathlib.Path(e["file"]), seen)
    ]
    if not entries:
        print("no source with a lock was found, so nothing was checked")
        return 1
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        found = [text for text in pool.map(analyse, entries) if text]
    print("".join(found) + f"{len(entries)} sources with locks, {len(found)} with errors")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
