#!/usr/bin/env python3
"""Makes tests/goldens/tasks/number_verdicts.jsonl: what math-verify says of numbers in every dress that answers wear.

    python scripts/goldens/number_verdicts.py tests/goldens/tasks/number_verdicts.jsonl     # needs math-verify==0.9.0

The strings are made by a grammar: a number, a way to write it, and one or two things that dress it; the references are right or
wrong by a little. And strings that are spoilt: something stands beside the number that makes it another or none. One line each: {"text",
"reference", "right": math-verify's verdict}. It finds numbers in plain text, in $...$ and in \\boxed{...} by rules of their own, and
accepts a text here when it does in one of the three. Where Tactus is to differ, "tactus" has its verdict and "why" the reason.
"""

import json
import pathlib
import random
import re
import sys

from math_verify import LatexExtractionConfig, StringExtractionConfig, parse, verify

SEED = 20261128

# Why Tactus differs where the number is there, and where it is not.
SPACES = "a space of LaTeX between groups of three is no sum of the groups"
PERCENT_AS_IS = "a fraction in per cent is also read as it stands, as a whole number is"
TOGETHER = "each part of the dress is accepted alone, and so it is together"
ARITHMETIC = "arithmetic left to do is no number"
CHANGED = "what stands behind it makes it another number"
PICKED = "a number picked out of other text is no answer"
COMPARED = "a comparison is no number"


def whole(rng: random.Random) -> tuple[str, list[str]]:
    n = rng.choice([rng.randint(0, 20), rng.randint(21, 999), rng.randint(1000, 99_999), rng.randint(10**6, 10**9)])
    forms = [str(n), f"{n}.0", f"{n}.00", f"0{n}"]
    if n >= 1000:
        grouped = f"{n:,}"
        forms = [str(n)] + [grouped.replace(",", separator) for separator in (",", "{,}", ",\\!", "\\!", " ", "\\,", "\\;", "\\ ", "~")]
    return str(n), forms


def decimal(rng: random.Random) -> tuple[str, list[str]]:
    text = f"{rng.randint(0, 99)}.{rng.randint(1, 999):03d}".rstrip("0")
    forms = [text, text + "0"]
    if text.startswith("0."):
        forms.append(text[1:])
    if len(text.split(".")[1]) < 3:
        forms.append(text.replace(".", ","))
    return text, forms


def fraction(rng: random.Random) -> tuple[str, list[str]]:
    top, bottom = rng.randint(1, 12), rng.randint(2, 12)
    forms = [f"{top}/{bottom}", f"{top} / {bottom}", f"{{{top}}}/{{{bottom}}}", f"{{{top} \\over {bottom}}}"]
    forms += [f"\\{command}{{{top}}}{{{bottom}}}" for command in ("frac", "dfrac", "tfrac", "cfrac")]
    forms += [f"\\left(\\frac{{{top}}}{{{bottom}}}\\right)", f"\\frac{{{2 * top}}}{{{2 * bottom}}}", f"\\frac{{\\frac{{{top}}}{{1}}}}{{{bottom}}}"]
    if top < 10 and bottom < 10:
        forms += [f"\\{c}{top}{bottom}" for c in ("frac", "dfrac")]
        forms += [f"\\frac {top} {bottom}", f"\\frac{{{top}}}{bottom}", f"\\frac{top}{{{bottom}}}", f"\\frac {top}{bottom}"]
    return f"{top}/{bottom}", forms


def mixed(rng: random.Random) -> tuple[str, list[str]]:
    n, bottom = rng.randint(1, 30), rng.randint(2, 9)
    top = rng.randint(1, bottom - 1)
    return f"{n * bottom + top}/{bottom}", [f"{n}\\frac{{{top}}}{{{bottom}}}", f"{n} \\frac{{{top}}}{{{bottom}}}", f"{n}\\frac{top}{bottom}", f"{n}\\tfrac{top}{bottom}"]


def power(rng: random.Random) -> tuple[str, list[str]]:
    digits, exponent = rng.randint(11, 99), rng.randint(2, 6)
    value, head = digits * 10 ** (exponent - 1), f"{digits // 10}.{digits % 10}"
    forms = [f"{head} {times} 10^{{{exponent}}}" for times in ("\\times", "\\cdot", "×", "*")] + [f"{head}\\times10^{exponent}"]
    if rng.random() < 0.3:
        return str(10**exponent), [f"10^{exponent}", f"10^{{{exponent}}}"]
    return str(value), forms


def rounded(rng: random.Random) -> tuple[str, list[str]]:
    top, bottom = rng.randint(1, 20), rng.choice([3, 7, 9, 11, 13])
    if top % bottom == 0:
        top += 1
    return f"{top}/{bottom}", [f"{top / bottom:.{places}f}" for places in (3, 5, 6, 7, 9)]


SIGNS = ["-", "-", "\u2212", "- "]
AROUND = ["**{}**", "'{}'", "[{}]", "\\text{{{}}}", "\\textbf{{{}}}", "\\mathbf{{{}}}", "\\mathrm{{{}}}", "({})", "${}$", "\\({}\\)", "\\[{}\\]",
                      "$${}$$", "\\boxed{{{}}}", "x = {}", "x={}", "= {}", "\\approx {}", "**${}$**", " {} ", "\n{}\n", "\u00a0{}"]
BEFORE = ["$", "\\$", "€", "£", "\\$ "]
AFTER = ["\\text{ cm}", " \\text{ dollars}", "\\,\\text{km}", "\\ \\text{m}", "\\text{ cm}^2", "\\text{ m}^{2}", "\\mathrm{ kg}", "\\mbox{ m}",
         "\\text{ m/s}", " apples", " dollars", " students", "cm", " cm", "m", " m", " km/h", " cm²", "^\\circ", "^{\\circ}", "°", "\\$", "€", "\\quad"]
PERCENT = ["\\%", "%", " %", " \\%", " percent", " pct", "\\text{ percent}"]
ENDS = [".", ".", ",", ";", " ", "\\ "]
SPOILT = {
    ARITHMETIC: ["{} + 0", "{} \\cdot 1", "2 \\cdot {}", "{}!", "\\sqrt{{{}}}", "{}^2", "|{}|", "{}-7", "{}/7/1", "{}:7", "{}/0", "\\frac{{{}}}{{0}}"],
    CHANGED: ["{} million", "{} thousand", "{} or 7", "{} and 7", "{} to 7", "{}x", "{} x", "{}\\pi", "{} \\pi", "{}e3", "{}\\text{{ or }}7",
              "{}\\text{{ million}}", "{}\\text{{ and }}"],
    PICKED: ["{}, 7", "7, {}", "7 {}", "{} 7", "about {}", "*{}*", "_{}_", "{}{{", "}}{}", "\\frac{{{}}}", "..{}", "{} is 7", "Step 7: {}"],
    COMPARED: ["< {}", "x < {}", "x > {}", "\\neq {}", "x >= {}", "\\le {}"],
}
NOTHING = ["seven", "", "$", "\\text{none}", "-", "\\frac", "x", "?", "**", "\\boxed{}"]


def dressed(rng: random.Random, text: str) -> str:
    parts = rng.sample(["around", "before", "after", "ends"], 2 if rng.random() < 0.25 else 1)
    text = rng.choice(BEFORE) + text if "before" in parts else text
    text += rng.choice(AFTER) if "after" in parts else ""
    text += rng.choice(ENDS) if "ends" in parts else ""
    return rng.choice(AROUND).format(text) if "around" in parts else text


def wrong(rng: random.Random, reference: str) -> str:
    """Another number, near."""
    if "/" in reference:
        top, bottom = reference.split("/")
        return rng.choice([f"{int(top) + 1}/{bottom}", f"{int(top) * 7}/{bottom}", f"{-int(top)}/{bottom}"])
    value = float(reference) if "." in reference else int(reference)
    return str(rng.choice([value + 1, value * 10 + 1, -value if value else 1, value + 0.5]))


def row(rng: random.Random) -> tuple[str, str, bool, str]:
    """A text, a reference, whether they are the same number, and why Tactus says so where math-verify does not."""
    make = rng.choice([whole, whole, decimal, fraction, fraction, mixed, power, rounded])
    reference, forms = make(rng)
    text = rng.choice(forms)
    kind = rng.random()
    if kind < 0.22:
        why = rng.choice(list(SPOILT))
        return rng.choice(SPOILT[why]).format(text), reference, False, why
    if kind < 0.24:
        return rng.choice(NOTHING), reference, False, PICKED
    why = SPACES if re.search(r"\d(\\[; ,]|~)\d{3}", text) else TOGETHER
    if kind < 0.35 and not text.startswith(("{", "\\left")):
        text, reference = rng.choice(SIGNS) + text, "-" + reference
    elif kind < 0.39:
        text = "+" + text
    elif kind < 0.52:
        text, why = text + rng.choice(PERCENT), PERCENT_AS_IS if make is not whole or "." in text else why
    else:
        text = dressed(rng, text)
    if rng.random() < 0.3:
        return text, wrong(rng, reference), False, why
    return text, reference, make is not rounded or len(re.search(r"\.(\d+)", text).group(1)) >= 6, why


def letters() -> list[tuple[str, str, bool, str]]:
    around = ["{}", "$ {} $", "\\text{{{}}}", "\\textbf{{{}}}", "\\mathrm{{{}}}", "({})", "\\text{{({})}}", "**{}**", "{}."]
    return [(form.format(letter), reference, letter == reference, TOGETHER)
            for form in around for letter, reference in (("B", "B"), ("C", "B"), ("A", "A"))]  # fmt: skip


def judge(text: str, reference: str) -> bool:
    letter = reference in "ABCDE"
    config = {"extraction_config": [LatexExtractionConfig(), StringExtractionConfig()]} if letter else {}
    gold = parse(f"${reference}$" if letter else reference, **config)
    if letter:
        gold.append(reference.lower())
    return any(verify(gold, parse(form.format(text), **config)) for form in ("{}", "${}$", "\\boxed{{{}}}"))


def main() -> int:
    rng = random.Random(SEED)
    rows = {(text, reference): (same, why) for text, reference, same, why in letters() + [row(rng) for _ in range(1600)]}
    lines = []
    for (text, reference), (same, why) in rows.items():
        right = judge(text, reference)
        line = {"text": text, "reference": reference, "right": right}
        lines.append(json.dumps(line if right == same else line | {"tactus": same, "why": why}, ensure_ascii=False))
    pathlib.Path(sys.argv[1]).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
