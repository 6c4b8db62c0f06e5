#!/usr/bin/env python3
"""Finds calls of the standard library that throw where the rest of the code returns a status.

    python3 scripts/check/exceptions.py [--self-test]

In the product's code (common, actor, learner, tools):
- std::filesystem only by the overloads that take a std::error_code, named `error` or `ignored`, as their last argument; iterators
  of folders advance by increment(error), so never in a range-for or by ++. common/base/paths.h has what is needed more than once.
- no std::stoi and its kin: absl::SimpleAtoi and SimpleAtod return whether it was a number;
- no std::thread or std::async that starts something: StartThread (common/base/thread.h) returns why it could not.

Prints one line for each; exit code 1 when there is one. --self-test judges seeded lines.
"""

import pathlib
import re
import sys

TOPS = ["common", "actor", "learner", "tools"]
SUFFIXES = {".h", ".cc", ".cu", ".cuh", ".inc"}
STARTS_THREADS = "common/base/thread.cc"
ERROR_NAMES = {"error", "ignored"}
# What of std::filesystem does not touch the disk.
HARMLESS = {"path", "perms", "perm_options", "copy_options", "directory_options", "directory_entry", "file_type", "filesystem_error"}
# Comments, strings, characters (no digit separators) and preprocessor lines hold no call.
OPAQUE = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"([^(\s]*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|(?<![0-9a-fA-F])\'(?:\\.|[^\'\\\n])+\'|^[ \t]*#(?:\\\n|[^\n])*',
    re.DOTALL | re.MULTILINE,
)
FILESYSTEM = re.compile(r"\b(?:std::filesystem|filesystem|fs)::(\w+)(?:\s+\w+)?\s*([({])")
FOR = re.compile(r"\bfor\s*(\()")
ENTRY = re.compile(r"(?:\.|->)(?:is_directory|is_regular_file|is_symlink|file_size|last_write_time|hard_link_count)\(\)")
STEP = re.compile(r"\+\+\s*it\b|\bit\s*\+\+")
NUMBER = re.compile(r"\bstd::(sto(?:i|l|ll|ul|ull|f|d|ld))\b")
THREAD = re.compile(r"\bstd::(?:jthread|async|thread)\s*(?:\w+\s*)?[({](?!\s*[)}])|\bstd::async\b")
EMPLACED = re.compile(r"\bemplace_back\(\s*(?:\[|&\w)")


def arguments(text: str, opening: int) -> list[str]:
    """What commas separate in the brackets that open at `opening`."""
    depth, parts = 0, [""]
    for c in text[opening:]:
        depth += (c in "([{") - (c in ")]}")
        if depth == 0:
            break
        if c == "," and depth == 1:
            parts.append("")
        else:
            parts[-1] += c
    return [part.lstrip("([{").strip() if i == 0 else part.strip() for i, part in enumerate(parts)]


def is_range_for_over_folder(header: str) -> bool:
    return "directory_iterator" in header and ";" not in header


def code_of(source: str) -> str:
    """The source with blanks for what holds no call."""
    return OPAQUE.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), source)


def by_line(text: str, found: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Places in the text as numbers of lines, in order."""
    return sorted((text.count("\n", 0, at) + 1, what) for at, what in found)


def product_sources(root: pathlib.Path) -> dict[str, str]:
    return {p.relative_to(root).as_posix(): p.read_text(errors="replace")
            for top in TOPS for p in sorted((root / top).rglob("*")) if p.suffix in SUFFIXES}  # fmt: skip


def report(lines: list[str], otherwise: str) -> int:
    print("\n".join(lines) if lines else otherwise)
    return 1 if lines else 0


def run(check_tree, self_test) -> int:
    """A check of the tree, or with --self-test of itself."""
    if sys.argv[1:] not in ([], ["--self-test"]):
        sys.exit(f"unknown arguments {sys.argv[1:]}; the only one is --self-test")
    return self_test() if sys.argv[1:] else check_tree(pathlib.Path(__file__).resolve().parents[2])


def found_in(path: str, source: str) -> list[tuple[int, str]]:
    """Where, and what is wrong there."""
    text = code_of(source)
    found = []
    for match in FILESYSTEM.finditer(text):
        name, argument = match[1], arguments(text, match.start(2))[-1]
        end_iterator = name.endswith("directory_iterator") and argument == ""
        if name not in HARMLESS and not end_iterator and argument not in ERROR_NAMES:
            found.append((match.start(), f"{name} without a std::error_code throws"))
    for match in FOR.finditer(text):
        if is_range_for_over_folder(",".join(arguments(text, match.start(1)))):
            found.append((match.start(), "a range-for over a folder throws: increment(error)"))
    if "directory_iterator" in text:
        found += [(m.start(), "++ of a folder's iterator throws: increment(error)") for m in STEP.finditer(text)]
        found += [(m.start(), "a query of an entry without a std::error_code throws") for m in ENTRY.finditer(text)]
    found += [(m.start(), f"std::{m[1]} throws: absl::SimpleAtoi or SimpleAtod") for m in NUMBER.finditer(text)]
    if path != STARTS_THREADS:
        found += [(m.start(), "starting a thread throws: StartThread") for m in THREAD.finditer(text)]
        if re.search(r"<std::j?thread>", text):
            found += [(m.start(), "starting a thread throws: StartThread") for m in EMPLACED.finditer(text)]
    return by_line(text, found)


def check_tree(root: pathlib.Path) -> int:
    sources = product_sources(root)
    if not sources:
        print(f"{root}: no source file found", file=sys.stderr)
        return 1
    lines = [f"{name}:{number}: {what}" for name, text in sources.items() for number, what in found_in(name, text)]
    return report(lines, f"exceptions: {len(sources)} files, none throws")


SEEDED = [  # a line, whether it is refused
    ("if (std::filesystem::exists(path)) return;", True),
    ("if (!fs::is_directory(folder.root())) {", True),
    ("std::filesystem::remove(Join(a, b));", True),
    ("return std::filesystem::absolute(\n    path, ok).string();", True),
    ("std::filesystem::create_directories(Join(a, \"error\"));", True),
    ("for (const auto& item : std::filesystem::directory_iterator(folder, error)) {", True),
    ("for (const fs::directory_entry& e : fs::recursive_directory_iterator(folder, error)) {", True),
    ("for (fs::directory_iterator it(path, error), end; it != end; ++it) {", True),
    ("for (fs::directory_iterator it(path), end; it != end; it.increment(error)) {", True),
    ("fs::directory_iterator it(p, error); if (it->is_regular_file()) return;", True),
    ("const int port = std::stoi(text);", True),
    ("return std::stod(line.substr(6));", True),
    ("std::thread weights([this] { Loop(); });", True),
    ("thread_ = std::thread([this] { Run(); });", True),
    ("std::thread(std::move(task)).detach();", True),
    ("std::vector<std::thread> w; w.emplace_back([this] { Work(); });", True),
    ("auto f = std::async(std::launch::async, work);", True),
    ("return std::filesystem::exists(path, ignored);", False),
    ("fs::rename(from, Join(a, b), error);", False),
    ("for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {", False),
    ("const bool over = it == std::filesystem::directory_iterator();", False),
    ("const std::filesystem::path parent = std::filesystem::path(to).parent_path();", False),
    ("// std::filesystem::exists(path) and std::stoi(x) throw", False),
    ("Log(\"std::thread(x)\");", False),
    ("#include <filesystem>", False),
    ("std::thread thread_;", False),
    ("std::max(1, int(std::thread::hardware_concurrency()));", False),
    ("std::vector<std::thread> w; for (std::thread& t : w) t.join();", False),
    ("for (auto it = map.begin(); it != map.end(); ++it) {", False),
    ("std::vector<Item> items; items.emplace_back([] { return 1; });", False),
]  # fmt: skip


def self_test() -> int:
    wrong = []
    for line, refused in SEEDED:
        found = found_in("tools/a.cc", f"namespace a {{\n{line}\n")
        if bool(found) != refused or (refused and found[0][0] != 2):
            wrong.append(f'{line!r}: expected {"a finding" if refused else "none"}, got {found}')
    if found_in(STARTS_THREADS, "return std::thread(std::move(body));"):
        wrong.append(f"{STARTS_THREADS} may start threads")
    return report(wrong, f"exceptions: {len(SEEDED) + 1} seeded lines judged rightly")


if __name__ == "__main__":
    sys.exit(run(check_tree, self_test))
