#!/usr/bin/env python3
"""Checks the size limits: functions of 70 lines, .cc and .cu of 500, headers of 200. Of Python files of 500 it only warns.

    python3 scripts/check/sizes.py [--self-test]

A function's lines run from the first of its signature to its closing brace; what its body defines counts as part of it.
Prints one line for what is over; exit code 1 when C++ is. --self-test counts seeded functions of known length.
"""

import pathlib
import re
import sys

LIMITS = {".cc": 500, ".cu": 500, ".h": 200, ".cuh": 200}
PYTHON_LINES = 500
FUNCTION_LINES = 70
TOPS = ["common", "actor", "learner", "tools", "tests", "bench", "examples"]
PYTHON_TOPS = ["scripts", "bench", "python", "examples"]
# Comments, strings, characters (no digit separators) and preprocessor lines: text in which a brace is no brace.
OPAQUE = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"([^(\s]*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|(?<![0-9a-fA-F])\'(?:\\.|[^\'\\\n])+\'|^[ \t]*#(?:\\\n|[^\n])*',
    re.DOTALL | re.MULTILINE,
)
SCOPE = re.compile(r"(template\s*<.*>\s*)?((static|typedef|inline)\s+)*(namespace|class|struct|union|enum|extern)\b", re.DOTALL)


def is_scope(head: str) -> bool:
    """Whether a brace after `head` opens a namespace or type, whose functions are looked at."""
    return bool(SCOPE.match(head)) and not re.search(r"\)\s*(const|noexcept|override|final)?\s*$", head)


def functions(text: str) -> list[tuple[int, int]]:
    """First line and number of lines of each function that is defined in a namespace or type."""
    text = OPAQUE.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), text)
    found, start, depth = [], 0, 0  # start of the present statement; depth of braces in a body, 0 = in a scope
    for match in re.finditer(r"[{};]|\b(?:public|private|protected):", text):
        sign = match[0]
        if depth:
            depth += {"{": 1, "}": -1}.get(sign, 0)
            if depth:
                continue
            if text[match.end() :].lstrip()[:1] in (",", "{"):
                continue  # a member's initializer: the function goes on
            head = text[start:match.end()]
            first = start + len(head) - len(head.lstrip())
            line = text.count("\n", 0, first) + 1
            if "(" in head.split("{")[0]:
                found.append((line, text.count("\n", first, match.end()) + 1))
        elif sign == "{" and not is_scope(text[start : match.start()].strip()):
            depth = 1
            continue
        start = match.end()
    return found


def over(path: pathlib.PurePath, text: str) -> list[str]:
    lines = len(text.splitlines())
    if path.suffix == ".py":
        return [f"warning: {path}: {lines} lines, limit {PYTHON_LINES}"] if lines > PYTHON_LINES else []
    found = [f"{path}: {lines} lines, limit {LIMITS[path.suffix]}"] if lines > LIMITS[path.suffix] else []
    return found + [f"{path}:{first}: a function of {length} lines, limit {FUNCTION_LINES}"
                    for first, length in functions(text) if length > FUNCTION_LINES]  # fmt: skip


def check_tree(root: pathlib.Path) -> int:
    paths = [p for top in TOPS for p in (root / top).rglob("*") if p.suffix in LIMITS]
    paths += [p for top in PYTHON_TOPS for p in (root / top).rglob("*.py")]
    found = [line for p in sorted(paths) for line in over(p.relative_to(root), p.read_text(errors="replace"))]
    print("\n".join(found) if found else f"sizes: {len(paths)} files, none over")
    return 1 if any(not line.startswith("warning") for line in found) else 0


SEEDED = [  # text, lines of its functions
    ("namespace a {\nint f() {\n  return 1;\n}\n}  // namespace a\n", [3]),
    ("class A {\n public:\n  int f() const { return 1; }\n  void g(int a,\n         int b) override {\n    h();\n  }\n private:\n  int x_{3};\n};\n", [1, 4]),
    ("A::A(int x)\n    : x_{x},\n      y_(1) {\n  g({1, 2});\n}\n", [5]),
    ("constexpr int k[] = {1,\n 2};\nint a(int b);\nstd::vector<int> v{\n1};\n", []),
    ('TEST(A, B) {\n  F(R"x({ } " )x");\n  G(\'{\', "}", 1\'000);\n  // }\n}\n', [5]),
    ("#define X(a) {\\\n  {\nvoid f() {\n#if A  // {\n  g();\n#endif\n}\n", [5]),
    ("struct A f() {\n}\nenum class E : int { kA };\ntemplate <class T>\nT g(T t) {\n  auto h = [&] {\n  };\n}\n", [2, 5]),
    ("extern \"C\" {\nvoid f() {\n}\n}\nstruct alignas(16) B : C<int> {\n  B() {}\n};\n", [2, 1]),
]  # fmt: skip


def self_test() -> int:
    wrong = [f"{text!r}: expected {lengths}, got {got}" for text, lengths in SEEDED
             if (got := [n for _, n in functions(text)]) != lengths]  # fmt: skip
    long = pathlib.PurePath("a/b.h"), "void f() {\n" + "  g();\n" * 70 + "}\n" + "\n" * 130
    expected = ["a/b.h: 202 lines, limit 200", "a/b.h:1: a function of 72 lines, limit 70"]
    wrong += [] if over(*long) == expected else [f"the long file: expected {expected}, got {over(*long)}"]
    print("\n".join(wrong) if wrong else f"sizes: {len(SEEDED) + 1} seeded files judged rightly")
    return 1 if wrong else 0


if __name__ == "__main__":
    if sys.argv[1:] not in ([], ["--self-test"]):
        sys.exit(f"unknown arguments {sys.argv[1:]}; the only one is --self-test")
    sys.exit(self_test() if sys.argv[1:] else check_tree(pathlib.Path(__file__).resolve().parents[2]))
