#!/usr/bin/env python3
"""Checks that what pages and comments name is there: files, links with their headings, and names said to be in a file.

    python3 scripts/check/docs.py [--self-test]

In Markdown: paths in code spans, relative links, and "`Name` (`path`)" or "`Name` in `path`", whose last part the file
must hold. In sources and scripts: paths anywhere. Paths begin with a folder of the tree; what a build makes,
placeholders (NAME, …), CHANGELOG.md (what was) and scripts/check (seeded faults) are left out. Prints one line for each that is missing; exit code 1 then. --self-test tries
seeded faults.
"""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDERS = "actor|bench|cmake|common|configs|deploy|docs|examples|k8s|learner|models|proto|python|scripts|tests|tools"
PATH = rf"(?:{FOLDERS})/[\w./*-]*\w/?|CHANGELOG\.md|CONTRIBUTING\.md|README\.md"
SPAN = re.compile(rf"`({PATH})`")
NAMED = re.compile(rf"`([A-Za-z_][\w:]*)`(?: \(| in )`({PATH})`")
LINK = re.compile(r"\]\(([^)\s:]*?)(?:#([^)\s]+))?\)")
IN_SOURCE = re.compile(rf"(?<![\w./-])((?:{FOLDERS})/[\w./-]+\.(?:cc|h|inc|cu|cuh|proto|py|sh|js|md|yml|yaml|textproto))(?![\w-])")
MADE = re.compile(r"\.(pb|js|css)\.h$|NAME|yours")
SOURCES = {".cc", ".h", ".inc", ".cu", ".cuh", ".proto", ".py", ".sh", ".js", ".txt", ".cmake", ".yml"}


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


class Tree:
    def __init__(self, files: dict[str, str]):
        self.files = files
        self.folders = {str(parent) for name in files for parent in pathlib.PurePosixPath(name).parents}

    def has(self, path: str) -> bool:
        path = path.rstrip("/")
        if "*" in path:
            return any(pathlib.PurePosixPath(name).match(path) for name in self.files | dict.fromkeys(self.folders))
        return path in self.files or path in self.folders

    def problems(self) -> list[str]:
        found = []
        for name, text in self.files.items():
            suffix = pathlib.PurePosixPath(name).suffix
            if name == "CHANGELOG.md" or name.startswith("scripts/check/"):
                continue  # what was, and seeded faults
            if suffix == ".md":
                found += [f"{name}: {what}" for what in self.of_page(name, text)]
            elif suffix in SOURCES:
                paths = {path for path in IN_SOURCE.findall(text) if not MADE.search(path)}
                paths = {path for path in paths if not self.has(path) and not self.has(f"scripts/{path}")}
                found += [f"{name}: there is no {path}" for path in sorted(paths)]
        return found

    def of_page(self, name: str, text: str) -> list[str]:
        found = [f"there is no {path}" for path in SPAN.findall(text) if not MADE.search(path) and not self.has(path)]
        for identifier, path in NAMED.findall(text):
            last = identifier.split("::")[-1]
            if path in self.files and not re.search(rf"\b{re.escape(last)}\b", self.files[path]):
                found.append(f"{path} has no {last}")
        folder = pathlib.PurePosixPath(name).parent
        for target, anchor in LINK.findall(re.sub(r"`[^`\n]*`", "", text)):
            path = name if not target else str(normal(folder / target))
            if not self.has(path):
                found.append(f"the link {target} leads nowhere")
            elif anchor and anchor not in {slug(h) for h in re.findall(r"^#+ (.*)$", self.files.get(path, ""), re.M)}:
                found.append(f"{path} has no heading #{anchor}")
        return found


def normal(path: pathlib.PurePosixPath) -> pathlib.PurePosixPath:
    parts: list[str] = []
    for part in path.parts:
        parts = parts[:-1] if part == ".." and parts else [*parts, part]
    return pathlib.PurePosixPath(*parts)


def read_tree() -> Tree:
    listing = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True)
    names = [name for name in listing.stdout.splitlines() if (ROOT / name).is_file()]
    read = SOURCES | {".md"}
    return Tree(
        {n: (ROOT / n).read_text(errors="replace") if pathlib.Path(n).suffix in read else "" for n in names}
    )


def self_test() -> list[str]:
    page = "`common/a.h` `common/` [x](../common/a.h) [y](#two-words) `Name` (`common/a.h`)\n## Two words\n"
    sound = {"common/a.h": "// docs/page.md\nclass Name;\n", "docs/page.md": page}
    found = [f"self-test: sound, and yet: {x}" for x in Tree(sound).problems()]
    for where, old, new in [
        ("docs/page.md", "`common/a.h` ", "`common/b.h` "),
        ("docs/page.md", "`common/`", "`common/c/`"),
        ("docs/page.md", "../common/a.h", "../common/b.h"),
        ("docs/page.md", "#two-words", "#three-words"),
        ("common/a.h", "class Name", "class Other"),
        ("common/a.h", "docs/page.md", "docs/pages.md"),
    ]:
        seeded = sound | {where: sound[where].replace(old, new)}
        if len(Tree(seeded).problems()) != 1:
            found.append(f"self-test: {new!r} in {where} gives {Tree(seeded).problems()}")
    return found


if __name__ == "__main__":
    problems = self_test() if "--self-test" in sys.argv[1:] else read_tree().problems()
    print("\n".join(problems) or "what pages and comments name is there")
    sys.exit(1 if problems else 0)
