"""Strings that tokenizers trip over: every script, marks out of order, emoji, whitespace of all kinds, added tokens."""

import random
import sys
import unicodedata

SPACES = [chr(c) for c in (0x9, 0xA, 0xB, 0xC, 0xD, 0x1C, 0x1F, 0x20, 0x85, 0xA0, 0x1680, 0x180E, 0x2000, 0x2003, 0x2009,
                           0x200A, 0x200B, 0x2028, 0x2029, 0x202F, 0x205F, 0x2060, 0x3000, 0xFEFF)]
CONTRACTIONS = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'T", "'RE", "'vE", "'M", "'Ll", "'D", "'\u017f",
                "\u2019s", "'x", "''s", "'", "\u0149", "'\u212a"]
WORDS = ("the of and to in is that for it as was with be by on not he his but at are this have from or had an they which one "
         "you were her all she there would their we him been has when who will more no if out so said what up its about into "
         "than them can only other new some could time these two may then do first any my now such like our over man me even "
         "number numbers target equation answer step try wrong found solve expression reach use each once think because "
         "therefore function return class import self print value string integer float list model token layer weight").split()
EMOJI = ["\U0001F600", "\U0001F44D\U0001F3FD", "\U0001F468\u200D\U0001F469\u200D\U0001F467\u200D\U0001F466",
         "\U0001F1E9\U0001F1EA", "1\uFE0F\u20E3", "\u2764\uFE0F\u200D\U0001F525", "\U0001F3F4\U000E0067\U000E0062\U000E007F",
         "\U0001FAE8", "\u00A9\uFE0F"]
PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\u2026\u2014\u201C\u201D\u3001\u3002\uFF01\u00BF\u061F\u0964"
SCRIPTS = [(0x41, 0x7A), (0xC0, 0x24F), (0x250, 0x2AF), (0x370, 0x3FF), (0x400, 0x52F), (0x531, 0x587), (0x5D0, 0x5EA),
           (0x600, 0x6FF), (0x700, 0x74F), (0x780, 0x7B1), (0x7C0, 0x7FA), (0x900, 0x97F), (0x980, 0x9FF), (0xA00, 0xA7F),
           (0xA80, 0xAFF), (0xB80, 0xBFF), (0xC00, 0xC7F), (0xC80, 0xCFF), (0xD00, 0xD7F), (0xD80, 0xDFF), (0xE00, 0xE7F),
           (0xE80, 0xEFF), (0xF00, 0xFFF), (0x1000, 0x109F), (0x10A0, 0x10FF), (0x1200, 0x137F), (0x13A0, 0x13FF),
           (0x1400, 0x167F), (0x16A0, 0x16F0), (0x1780, 0x17FF), (0x1800, 0x18AF), (0x1E00, 0x1EFF), (0x1F00, 0x1FFF),
           (0x2070, 0x209F), (0x2100, 0x218F), (0x2C00, 0x2DFF), (0x3040, 0x30FF), (0x3105, 0x312F), (0x3131, 0x318E),
           (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA000, 0xA48F), (0xA500, 0xABFF), (0xAC00, 0xD7A3), (0xF900, 0xFAFF),
           (0xFB00, 0xFDFF), (0xFE20, 0xFE2F), (0xFF01, 0xFFEF), (0x10000, 0x100FF), (0x10280, 0x10FFF), (0x11000, 0x119FF),
           (0x12000, 0x1254F), (0x13000, 0x1342F), (0x16A00, 0x16FFF), (0x1BC00, 0x1BCFF), (0x1D100, 0x1D7FF),
           (0x1E100, 0x1E95F), (0x1EE00, 0x1F0FF), (0x20000, 0x2A6DF), (0x2F800, 0x2FA1F), (0x30000, 0x323AF)]


def _marks_and_composites():
    marks, composites, numbers = [], [], []
    for c in range(sys.maxunicode + 1):
        char = chr(c)
        if unicodedata.combining(char):
            marks.append(char)
        if unicodedata.decomposition(char) and "<" not in unicodedata.decomposition(char):
            composites.append(char)
        if unicodedata.category(char).startswith("N"):
            numbers.append(char)
    return marks, composites, numbers


MARKS, COMPOSITES, NUMBERS = _marks_and_composites()


class Strings:
    """The same strings for the same seed. `added` are the added tokens of the tokenizer at hand."""

    def __init__(self, seed, added):
        self.random = random.Random(seed)
        self.added = added

    def scalar(self, low=0, high=0x10FFFF):
        while True:
            c = self.random.randint(low, high)
            if not 0xD800 <= c < 0xE000:
                return chr(c)

    def word(self):
        r = self.random
        word = r.choice(WORDS)
        return r.choice([word, word, word.capitalize(), word.upper(), word + r.choice(CONTRACTIONS), " " + word, " " + word])

    def script(self):
        low, high = self.random.choice(SCRIPTS)
        return "".join(self.scalar(low, high) for _ in range(self.random.randint(1, 8)))

    def spaces(self):
        r = self.random
        kind = r.choice([" ", " ", "\n", "\r\n", "\t", None])
        return "".join(kind or r.choice(SPACES) for _ in range(r.randint(1, 5)))

    def digits(self):
        r = self.random
        if r.random() < 0.6:
            return str(r.randint(0, 10 ** r.randint(1, 12)))
        return "".join(r.choice(NUMBERS) for _ in range(r.randint(1, 5)))

    def marks(self):
        r = self.random
        base = r.choice([r.choice("aeiouAEIOUsynzlL"), r.choice(COMPOSITES), self.scalar(0x1100, 0x11FF), ""])
        text = base + "".join(r.choice(MARKS) for _ in range(r.randint(0, 4)))
        return unicodedata.normalize("NFD", text) if r.random() < 0.4 else text

    def hangul(self):
        r = self.random
        text = "".join(self.scalar(0xAC00, 0xD7A3) for _ in range(r.randint(1, 3)))
        return unicodedata.normalize("NFD", text)[: r.randint(1, 9)]

    def added_token(self):
        r = self.random
        token = r.choice(self.added)
        shape = r.random()
        if shape < 0.5:
            return token
        if shape < 0.7:
            return self.spaces() + token + self.spaces()
        if shape < 0.8:
            return token[: r.randint(0, len(token))]
        if shape < 0.9:
            return token[r.randint(0, len(token)):] + r.choice(self.added)
        return token + token

    def anything(self):
        r = self.random
        high = r.choice([0x7F, 0x9F, 0xFF, 0x2FFF, 0xFFFF, 0x1FFFF, 0x3FFFF, 0x10FFFF])
        return "".join(self.scalar(0, high) for _ in range(r.randint(1, 4)))

    def code(self):
        r = self.random
        return r.choice(["def f(x):\n    return x + {}\n", "https://example.org/a?b={}&c=%20", "x_{} = [1, 2,  3];\r\n\r\n",
                         "\\boxed{{{}}}", "<think>\n{}\n</think>", "[{}] + 3*(4-2)/5 = "]).format(r.randint(0, 9999))

    def string(self):
        r = self.random
        parts = [self.word, self.word, self.word, self.script, self.spaces, self.digits, self.marks, self.hangul,
                 self.anything, self.code, lambda: r.choice(PUNCTUATION) * r.randint(1, 4), lambda: r.choice(EMOJI),
                 lambda: r.choice(CONTRACTIONS)]
        if self.added:
            parts += [self.added_token, self.added_token]
        return "".join(r.choice(parts)() for _ in range(r.choice([1, 2, 2, 3, 3, 4, 5, 6, 8, 12, 20])))

    def invalid_utf8(self):
        """Bytes, most of them no valid UTF-8."""
        r = self.random
        data = bytearray(self.string().encode()[:40])
        for _ in range(r.randint(1, 6)):
            what = r.choice([b"\xff", b"\xc0\xaf", b"\xe2\x82", b"\xed\xa0\x80", b"\xf0\x9f\x98", b"\xf4\x90\x80\x80", b"\x80",
                             b"\xf5\x80", b"\xe0\x80\x80", bytes([r.randint(128, 255)])])
            at = r.randint(0, len(data))
            data[at:at + r.randint(0, 1)] = what
        return bytes(data)
