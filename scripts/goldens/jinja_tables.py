"""Writes common/tokenizer/jinja/characters.inc: what Python's str knows of characters, asked of Python itself.

    python jinja_tables.py <folder to write to>        # Python 3.11; another has another Unicode
"""

import pathlib
import sys
import unicodedata

SCALARS = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def ranges(holds):
    """The characters of which `holds` is true, as closed ranges. A range may run over the surrogates, which no text holds."""
    out = []
    for c in map(ord, filter(holds, SCALARS)):
        if out and (c == out[-1][1] + 1 or (out[-1][1] == 0xD7FF and c == 0xE000)):
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def case(convert):
    """(ranges of one step and one shift, characters that become several)."""
    one, several = [], []
    for c in SCALARS:
        to = convert(c)
        if to == c:
            continue
        if len(to) > 1:
            several.append([ord(c), *map(ord, to), *[0] * (3 - len(to))])
            continue
        point, shift = ord(c), ord(to) - ord(c)
        last = one[-1] if one else None
        step = point - last[1] if last else 0
        if last and last[3] == shift and step in ((1, 2) if last[0] == last[1] else (last[2],)):
            last[1], last[2] = point, step
        else:
            one.append([point, point, 1, shift])
    return one, several


def ignorable(c):
    return ("A" + c + "\u03a3").lower()[-1] == "\u03c2" and (" " + c + "\u03a3").lower()[-1] != "\u03c2"


def table(kind, name, rows, comment):
    lines, line = [], " "
    for row in rows:
        values = [f"0x{v:X}" if v >= 0 else str(v) for v in row]
        if kind == "CaseSpecial":
            values = [values[0], "{" + ",".join(values[1:]) + "}"]
        cell = " {" + ",".join(values) + "},"
        if len(line) + len(cell) > 120:
            lines.append(line)
            line = " "
        line += cell
    return f"// {comment}\nconstexpr {kind} {name}[] = {{\n" + "\n".join([*lines, line]) + "\n};\n"


def main():
    tables = [
        table("CodePointRange", "kNotPrintable", ranges(lambda c: not c.isprintable()), "what repr() spells out"),
        table("CodePointRange", "kLetters", ranges(str.isalpha), "isalpha()"),
        table("CodePointRange", "kDecimals", ranges(str.isdecimal), "isdecimal()"),
        table("CodePointRange", "kDigits", ranges(str.isdigit), "isdigit()"),
        table("CodePointRange", "kNumberSigns", ranges(str.isnumeric), "isnumeric()"),
        table("CodePointRange", "kUpperLetters", ranges(str.isupper), "isupper()"),
        table("CodePointRange", "kLowerLetters", ranges(str.islower), "islower()"),
        table("CodePointRange", "kCasedInTitle", ranges(lambda c: (c + "a").title()[-1] == "a"), "inside a word for title()"),
        table("CodePointRange", "kCaseIgnorable", ranges(ignorable), "passed over when a final sigma is looked for"),
        table("CodePointRange", "kCased", ranges(lambda c: (" " + c + "\u03a3").lower()[-1] == "\u03c2"), "before which it is final"),
    ]
    for name, convert in (("Upper", str.upper), ("Lower", str.lower), ("Title", str.title)):
        one, several = case(convert)
        tables.append(table("CaseRange", f"kTo{name}", one, f"{name.lower()}(): first, last, step, shift"))
        tables.append(table("CaseSpecial", f"kTo{name}Special", several, f"{name.lower()}(): one becomes several"))
    head = ("// What Python's str knows of characters, in order.\n// Made by scripts/goldens/jinja_tables.py from Unicode "
            f"{unicodedata.unidata_version}; do not edit.\n// clang-format off\n")
    (pathlib.Path(sys.argv[1]) / "characters.inc").write_text(head + "\n".join(tables) + "// clang-format on\n")


if __name__ == "__main__":
    main()
