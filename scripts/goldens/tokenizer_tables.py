"""Writes common/tokenizer/unicode_classes.inc, unicode_categories.inc and unicode_nfc.inc by asking Hugging Face `tokenizers`.

Its regex engine, its normalizer and the Rust library behind it each follow another version of Unicode, and none of them
the version of PCRE2, of Python or of a system library. Equal ids need equal tables, so the tables are read off the
reference itself: every code point is put through it once (about two minutes).

    python tokenizer_tables.py <folder to write to>        # needs tokenizers==0.23.3
"""

import pathlib
import sys
import unicodedata

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

SCALARS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
HANGUL = range(0xAC00, 0xD7A4)  # composed by arithmetic, not by table


def ranges(code_points):
    """Sorted code points as closed ranges. A range may run over the surrogates, which no text holds."""
    out = []
    for c in code_points:
        if out and (c == out[-1][1] + 1 or (out[-1][1] == 0xD7FF and c == 0xE000)):
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def regex_class(pattern):
    split = pre_tokenizers.Split(Regex(pattern), "removed")
    return [c for c in SCALARS if not split.pre_tokenize_str(chr(c))]


def numeric_class():
    digits = pre_tokenizers.Digits(individual_digits=True)
    return [c for c in SCALARS if len(digits.pre_tokenize_str("a" + chr(c))) == 2]


def word_class():
    """Rust's \\w: next to such a character a single_word token does not match."""
    tokenizer = Tokenizer(models.BPE({"?": 0}, [], unk_token="?"))
    tokenizer.add_tokens([AddedToken("@@", single_word=True, normalized=False)])
    marker = tokenizer.token_to_id("@@")
    return [c for c in SCALARS if marker not in tokenizer.encode("@@" + chr(c)).ids]


def combining_classes():
    """Pairs (code point, class), by the order that NFD gives to two marks."""
    nfd = normalizers.NFD().normalize_str
    one_of = {240: "\u0345"}  # class -> a mark that has it, and that the reference knows: it goes before class 240
    for c in SCALARS:
        if unicodedata.combining(chr(c)) and nfd("\u0345" + chr(c)) != "\u0345" + chr(c):
            one_of.setdefault(unicodedata.combining(chr(c)), chr(c))
    order = sorted(one_of)
    out = []
    for c in SCALARS:
        mark = chr(c)
        if nfd(mark) != mark:
            continue
        if nfd("\u0345" + mark) == "\u0345" + mark and nfd(mark + "\u0334") == mark + "\u0334":
            continue  # neither before class 240 nor behind class 1: it moves past nothing, so its class is 0
        lower = [k for k in order if nfd(mark + one_of[k]) != mark + one_of[k]]  # classes below the mark's own
        higher = [k for k in order if nfd(one_of[k] + mark) != one_of[k] + mark]  # classes above it
        own = [k for k in order if k not in lower and k not in higher]
        assert len(own) == 1, (hex(c), own)
        out.append((c, own[0]))
    return out


def decompositions():
    """Composites that NFC makes again (a, b -> c), and one-way ones (c -> a [b])."""
    nfc, nfd = normalizers.NFC().normalize_str, normalizers.NFD().normalize_str
    two_way, one_way = [], []
    for c in SCALARS:
        if c in HANGUL or nfd(chr(c)) == chr(c):
            continue
        parts = [int(p, 16) for p in unicodedata.decomposition(chr(c)).split()]
        assert 1 <= len(parts) <= 2 and "".join(nfd(chr(p)) for p in parts) == nfd(chr(c)), hex(c)
        (two_way if nfc(chr(c)) == chr(c) else one_way).append((c, parts[0], parts[1] if len(parts) == 2 else 0))
    return two_way, one_way


def table(kind, name, rows, comment):
    lines, line = [], " "
    for row in rows:
        cell = " {" + ",".join(f"0x{v:X}" for v in row) + "},"
        if len(line) + len(cell) > 120:
            lines.append(line)
            line = " "
        line += cell
    lines.append(line)
    return f"// {comment}\nconstexpr {kind} {name}[] = {{\n" + "\n".join(lines) + "\n};\n"


def write(path, what, tables):
    head = (f"// {what}\n// Made by scripts/goldens/tokenizer_tables.py from tokenizers {tokenizers.__version__}; "
            "do not edit.\n// clang-format off\n")
    path.write_text(head + "\n".join(tables) + "// clang-format on\n")


def main():
    folder = pathlib.Path(sys.argv[1])
    write(folder / "unicode_classes.inc", "Classes of code points, as closed ranges in order.", [
        table("CodePointRange", "kLetters", ranges(regex_class(r"\p{L}")), "\\p{L} of the splitting regexes"),
        table("CodePointRange", "kNumbers", ranges(regex_class(r"\p{N}")), "\\p{N} of the splitting regexes"),
        table("CodePointRange", "kSpaces", ranges(regex_class(r"\s")), "\\s, there and beside added tokens"),
        table("CodePointRange", "kNumeric", ranges(numeric_class()), "what the Digits pre-tokenizer splits"),
        table("CodePointRange", "kWordCharacters", ranges(word_class()), "\\w beside a single_word added token"),
    ])
    write(folder / "unicode_categories.inc", "Categories of the splitting regexes, as closed ranges in order.", [
        table("CodePointRange", f"k{name}", ranges(regex_class(rf"\p{{{name}}}")), f"\\p{{{name}}}")
        for name in ("Lu", "Ll", "Lt", "Lm", "Lo", "M")])
    two_way, one_way = decompositions()
    marks = []
    for c, combining in combining_classes():
        if marks and marks[-1][1] + 1 == c and marks[-1][2] == combining:
            marks[-1][1] = c
        else:
            marks.append([c, c, combining])
    write(folder / "unicode_nfc.inc", "Canonical (de)composition, Hangul syllables apart.", [
        table("CombiningRange", "kCombining", marks, "first, last, canonical combining class (not 0)"),
        table("Decomposition", "kComposites", two_way, "composite, first, second: taken apart and put together"),
        table("Decomposition", "kOneWay", one_way, "code point, first, second or 0: taken apart only"),
    ])


if __name__ == "__main__":
    main()
