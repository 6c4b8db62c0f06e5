#!/usr/bin/env python3
"""Lints the pages' scripts and styles, tools/*/web/*.js and *.css, with ESLint and stylelint (npm, kept in .cache).

    python3 scripts/check/web.py

The rules are tools/report/web/*.config.cjs. Both linters are tried on seeded faults first. Exit code 1: something is
wrong; 77: there is no npm or no network.
"""

import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from base import npm  # noqa: E402
from base.local import ROOT  # noqa: E402

# The newest that run on Debian 12's node.
PACKAGES = ["eslint@9.39.5", "@eslint/js@9.39.5", "stylelint@16.26.1", "stylelint-config-standard@39.0.1"]
CACHE = ROOT / ".cache" / "web-lint"
RULES = ROOT / "tools" / "report" / "web"
LINT_S = 100

SEEDED = {  # what is wrong: the linted text and the rule that must say so
    "js": {
        "a name that nothing defines": ("document.title = missing;\n", "no-undef"),
        "text that becomes markup": ("document.body.innerHTML = location.hash;\n", "no-restricted-properties"),
        "a comparison that converts": ("if (location.hash == 0) document.title = '';\n", "eqeqeq"),
        "a constant that is not used": ("{\nconst a = 1;\n}\n", "no-unused-vars"),
    },
    "css": {
        "a colour that is none": ("a { color: #12; }\n", "declaration-property-value-no-unknown"),
        "a property that does not exist": ("a { colour: red; }\n", "property-no-unknown"),
        "a property said twice": ("a { color: red; top: 0; color: blue; }\n", "declaration-block-no-duplicate-properties"),
    },
}


def lint(kind: str, files: list[str], text: str | None = None) -> tuple[int, str]:
    """Exit code and what the linter says about the files or, under the name of the only one, about `text`."""
    modules = CACHE / "node_modules"
    if kind == "js":
        program = [str(modules / "eslint/bin/eslint.js"), "--config", str(RULES / "eslint.config.cjs")]
        program += ["--stdin", "--stdin-filename", *files] if text is not None else files
    else:
        program = [str(modules / "stylelint/bin/stylelint.mjs"), "--config", str(RULES / "stylelint.config.cjs")]
        program += ["--config-basedir", str(CACHE)]
        program += ["--stdin", "--stdin-filename", *files] if text is not None else files
    done = subprocess.run(
        ["node", *program], cwd=ROOT, env=os.environ | {"NODE_PATH": str(modules)}, input=text or "",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LINT_S, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


def main() -> int:
    npm.install(PACKAGES, CACHE, "the pages' scripts and styles are")
    failed = 0
    for kind, faults in SEEDED.items():
        for fault, (text, rule) in faults.items():
            _, said = lint(kind, [f"tools/report/web/seeded.{kind}"], text)
            if rule not in said:
                print(f"{kind}: {fault} was not found by {rule}: {said}")
                failed += 1
        files = sorted(str(p.relative_to(ROOT)) for p in ROOT.glob(f"tools/*/web/*.{kind}"))
        code, said = lint(kind, files)
        print(said, end="")
        print(f"{kind}: {len(files)} files, exit code {code}")
        failed += code != 0 or not files
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
