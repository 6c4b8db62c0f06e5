#!/usr/bin/env python3
"""Names what is over the size limits: functions of 70 lines, .cc of 500, headers of 200. Prints nothing when all is well.

Function lengths are read off the formatting: clang-format starts a function and its closing brace in the same column, and
namespaces are not indented, so a free function begins and ends in column 0 and an inline member in column 2.
"""

import pathlib
import re

LIMITS = {".cc": 500, ".cu": 500, ".h": 200}
FUNCTION_LINES = 70
TOPS = ["common", "actor", "learner", "tools", "tests", "bench"]
NOT_A_FUNCTION = re.compile(r"\s*(namespace|class|struct|enum|union|extern|#|//|public:|private:|protected:|constexpr .*=|const .*=)")


def long_functions(lines: list[str]) -> list[str]:
    found = []
    for indent in ("", "  "):
        start = None
        for number, line in enumerate(lines, 1):
            if not line.startswith(indent) or line[len(indent) : len(indent) + 1] in (" ", "", "\t"):
                continue
            if line.rstrip() == indent + "}":
                if start and number - start + 1 > FUNCTION_LINES:
                    found.append(f"{start}: a function of {number - start + 1} lines, limit {FUNCTION_LINES}")
                start = None
            elif line[len(indent)] == "}" or line.rstrip().endswith(";") or NOT_A_FUNCTION.match(line):
                start = None
            elif start is None:
                start = number
    return found


def main() -> None:
    root = pathlib.Path(__file__).resolve().parents[2]
    for path in sorted(p for top in TOPS for p in (root / top).rglob("*") if p.suffix in LIMITS):
        lines = path.read_text(errors="replace").splitlines()
        name = path.relative_to(root)
        if len(lines) > LIMITS[path.suffix]:
            print(f"{name}: {len(lines)} lines, limit {LIMITS[path.suffix]}")
        for problem in long_functions(lines):
            print(f"{name}:{problem}")


if __name__ == "__main__":
    main()
