"""Makes tests/goldens/tokenizer: small tokenizers of the families we read, and what Hugging Face `tokenizers` does.

    python tokenizer_goldens.py <repository>/tests/goldens/tokenizer     # needs tokenizers==0.23.3

<name>.json     a trained tokenizer; cases.jsonl holds one line per string: {"hex": its bytes, "<name>": ids, ...};
decode.jsonl    one line per list of ids: {"tokenizer", "ids", "skip_special_tokens", "text"}.
"""

import json
import pathlib
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from goldens.tokenizer_strings import Strings  # noqa: E402

LLAMA3_REGEX = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
                r"|\s+(?!\S)|\s+")
QWEN_REGEX = LLAMA3_REGEX.replace(r"\p{N}{1,3}", r"\p{N}")
TEKKEN_REGEX = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
                r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
                r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
ALPHABET = pre_tokenizers.ByteLevel.alphabet()


def train(tokenizer, vocab_size, initial_alphabet=ALPHABET):
    strings = Strings(1, [])
    corpus = ["".join(strings.word() + " " for _ in range(40)) + strings.string() for _ in range(1500)]
    tokenizer.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=initial_alphabet,
                                                             show_progress=False))


def qwen():
    """Qwen2/2.5/3: NFC, digits one by one, added tokens some of which are not special; merges as strings."""
    t = Tokenizer(models.BPE(continuing_subword_prefix="", end_of_word_suffix="", fuse_unk=False))
    t.normalizer = normalizers.NFC()
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(QWEN_REGEX), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)])
    t.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    t.decoder = decoders.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    train(t, 1200)
    t.add_special_tokens([AddedToken(c, normalized=False, special=True) for c in
                          ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|box_start|>")])
    t.add_tokens([AddedToken(c, normalized=False) for c in ("<tool_call>", "</tool_call>", "<think>", "</think>")])
    data = json.loads(t.to_str())
    data["model"]["merges"] = [" ".join(pair) for pair in data["model"]["merges"]]
    return data


def llama3():
    """Llama-3: ignore_merges with tokens that no merge reaches, <|begin_of_text|> in front."""
    t = Tokenizer(models.BPE(ignore_merges=True))
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(LLAMA3_REGEX), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=False)])
    t.decoder = decoders.ByteLevel(add_prefix_space=True, trim_offsets=True, use_regex=True)
    train(t, 1200)
    t.add_special_tokens([AddedToken(c, normalized=False, special=True) for c in
                          ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")])
    bos = t.token_to_id("<|begin_of_text|>")
    t.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=True),
        processors.TemplateProcessing(single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|>:1 $B:1",
                                      special_tokens=[("<|begin_of_text|>", bos)])])
    data = json.loads(t.to_str())
    data["model"]["merges"] = [pair for i, pair in enumerate(data["model"]["merges"]) if i < 300 or i % 5]
    made = {"".join(pair) for pair in data["model"]["merges"]}
    data["model"]["merges"] = [pair for pair in data["model"]["merges"] if all(len(p) == 1 or p in made for p in pair)]
    return data


def tekken():
    """Mistral-Nemo: words cut where upper case follows lower case, special tokens first, <s> in front."""
    t = Tokenizer(models.BPE(ignore_merges=True))
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(TEKKEN_REGEX), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=False)])
    t.decoder = decoders.ByteLevel(add_prefix_space=True, trim_offsets=True, use_regex=True)
    train(t, 1000)
    special = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]
    learned = json.loads(t.to_str())["model"]
    names = special + sorted(learned["vocab"], key=learned["vocab"].get)
    data = json.loads(t.to_str())
    data["model"].update(vocab={name: i for i, name in enumerate(names)})
    base = dict(single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
    data["added_tokens"] = [dict(id=i, content=content, **base) for i, content in enumerate(special)]
    data["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}}
    return data


def smol():
    """SmolLM2: single digits, GPT-2's regex, a vocabulary that lacks some bytes, an unknown token."""
    t = Tokenizer(models.BPE(unk_token="<|endoftext|>", fuse_unk=True, byte_fallback=True))
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True)])
    t.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse(), decoders.Replace("\u2581", " "),
                                   decoders.ByteLevel(add_prefix_space=True, trim_offsets=True, use_regex=True)])
    t.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    train_special = Tokenizer(models.BPE())
    train_special.pre_tokenizer = t.pre_tokenizer
    train(train_special, 900, sorted(ALPHABET)[:200])
    learned = json.loads(train_special.to_str())["model"]
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<0xC4>", "<0x80>", "<0x81>"] + sorted(
        learned["vocab"], key=learned["vocab"].get)
    data = json.loads(t.to_str())
    data["model"].update(vocab={name: i for i, name in enumerate(names)}, merges=learned["merges"])
    return data


def odd():
    """What else the format allows: every flag of an added token, prefix space, other split behaviors, no fused unknowns."""
    t = Tokenizer(models.BPE(unk_token="!", fuse_unk=False))
    t.normalizer = normalizers.Sequence([normalizers.NFC()])
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split("<sep>", "removed"),
        pre_tokenizers.Split(Regex(r"[.!?]+"), "merged_with_previous"),
        pre_tokenizers.Split(Regex(r"[#@]"), "merged_with_next"),
        pre_tokenizers.Split(Regex(r"\p{N}"), "contiguous"),
        pre_tokenizers.Split(Regex(r"[^=]+|=[\n-]?"), "isolated", invert=True),
        pre_tokenizers.Digits(individual_digits=False),
        pre_tokenizers.ByteLevel(add_prefix_space=True, trim_offsets=True, use_regex=True)])
    t.decoder = decoders.ByteLevel()
    train(t, 700, sorted(ALPHABET)[:150])
    data = json.loads(t.to_str())
    flags = [("<word>", dict(single_word=True)), ("<left>", dict(lstrip=True)), ("<right>", dict(rstrip=True)),
             ("<both>", dict(lstrip=True, rstrip=True)), ("caf\u0065\u0301", dict(normalized=True)),
             ("<norm>", dict(normalized=True, lstrip=True)), ("<normright>", dict(normalized=True, rstrip=True)),
             ("one", dict(single_word=True, normalized=True)), ("<wordleft>", dict(single_word=True, lstrip=True)),
             ("<<", {}), ("<<<", {}), ("  ", dict(rstrip=True)), ("\u212b", dict(normalized=True)), ("<special>", dict(special=True))]
    base = dict(single_word=False, lstrip=False, rstrip=False, normalized=False, special=False)
    size = len(data["model"]["vocab"])
    data["added_tokens"], next_id = [], size
    for content, set_flags in flags:
        known = data["model"]["vocab"].get(content)
        data["added_tokens"].append(dict(id=next_id if known is None else known, content=content, **{**base, **set_flags}))
        next_id += known is None
    sep = data["added_tokens"][-1]["id"]
    data["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "X", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                   {"SpecialToken": {"id": "Y", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"X": {"id": "X", "ids": [sep, 3], "tokens": ["<special>", "x"]},
                           "Y": {"id": "Y", "ids": [5], "tokens": ["y"]}}}
    return data


MAKERS = {"qwen": qwen, "llama3": llama3, "smol": smol, "odd": odd, "tekken": tekken}


def added_contents(data):
    return [token["content"] for token in data["added_tokens"]]


def dump(data):
    """Compact, one token or merge per line would be twice the size."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")) + "\n"


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizers_by_name, added = {}, []
    for name, make in MAKERS.items():
        data = make()
        (folder / f"{name}.json").write_text(dump(data))
        tokenizers_by_name[name] = Tokenizer.from_file(str(folder / f"{name}.json"))
        if name != "tekken":  # came last: the strings stay those of the others
            added += added_contents(data)

    strings = Strings(7, sorted(set(added)))
    texts = [b"", b" ", b"\n", "\u0345\u0301".encode(), b"\xff"]
    texts += [strings.string().encode()[:160] for _ in range(620)]  # the cut leaves some invalid
    texts += [strings.invalid_utf8() for _ in range(180)]
    with open(folder / "cases.jsonl", "w") as out:
        for data in texts:
            line = {"hex": data.hex()}
            for name, tokenizer in tokenizers_by_name.items():
                line[name] = tokenizer.encode(data.decode("utf-8", errors="replace")).ids
            out.write(dump(line))
    with open(folder / "decode.jsonl", "w") as out:
        for name, tokenizer in tokenizers_by_name.items():
            size = tokenizer.get_vocab_size()
            for i in range(60):
                ids = [strings.random.randrange(size) for _ in range(strings.random.randint(0, 12))]
                skip = i % 2 == 0
                out.write(dump({"tokenizer": name, "ids": ids, "skip_special_tokens": skip,
                                "text": tokenizer.decode(ids, skip_special_tokens=skip)}))


if __name__ == "__main__":
    main()
