#!/usr/bin/env python3
"""Writes models/quickstart-base: the quick-start policy before its first step, without weights.

Byte-level BPE in tokenizer.json form, written out by hand rather than trained, so that it is the same for ever:
  - the 256 bytes, so any text can be encoded;
  - every whole number up to 199 as one token (a policy of a million weights learns sums of whole numbers; digit by
    digit it needs ten times the training);
  - " no\\n" and " yes\\n", the verdicts that end a line of a worked answer;
  - <answer> and </answer>, ordinary added tokens: they stay in decoded text, where the verifier looks for them;
  - <|end|> and <|pad|>, special.
Needs nothing but Python's own library:  scripts/models/make_quickstart_tokenizer.py [models/quickstart-base]
"""
import json
import pathlib
import sys

MAX_NUMBER = 199
SPLIT = r" ?[a-z]+\n?|[0-9]+|[^0-9\s]|\s"


def byte_letters():
    """GPT-2's printable letter for each byte."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = {byte: chr(byte) for byte in printable}
    others = [byte for byte in range(256) if byte not in letters]
    letters.update({byte: chr(256 + i) for i, byte in enumerate(others)})
    return letters


def merges():
    """Pairs in order of rank. 11 comes before 10: else "110" would become "1", "10"."""
    letters = byte_letters()
    space, newline = letters[ord(" ")], letters[ord("\n")]
    two_digits = [11, 10, *range(12, 100)]
    pairs = [(str(n)[0], str(n)[1]) for n in two_digits]
    pairs += [(str(n)[:2], str(n)[2]) for n in range(100, MAX_NUMBER + 1)]
    pairs += [("n", "o"), (space, "no"), (space + "no", newline)]
    pairs += [("y", "e"), ("ye", "s"), (space, "yes"), (space + "yes", newline)]
    return pairs


def build():
    letters = byte_letters()
    pairs = merges()
    tokens = [letters[byte] for byte in sorted(letters)] + [a + b for a, b in pairs]
    vocab = {token: i for i, token in enumerate(tokens)}
    assert len(vocab) == len(tokens)
    added = [("<answer>", False), ("</answer>", False), ("<|end|>", True), ("<|pad|>", True)]
    ids = {text: len(vocab) + i for i, (text, _) in enumerate(added)}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": ids[text], "content": text, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": special}
            for text, special in added
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": SPLIT}, "behavior": "Isolated", "invert": False}, byte_level]},
        "post_processor": None,
        "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": vocab, "merges": [list(pair) for pair in pairs]},
    }
    size = len(vocab) + len(added)
    end, pad = ids["<|end|>"], ids["<|pad|>"]
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "hidden_act": "silu",
        "vocab_size": (size + 15) // 16 * 16,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-06,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
        "initializer_range": 0.02,
        "bos_token_id": None,
        "eos_token_id": end,
        "pad_token_id": pad,
        "torch_dtype": "float32",
    }
    generation = {"do_sample": True, "temperature": 1.0, "eos_token_id": end, "pad_token_id": pad}
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": None,
        "eos_token": "<|end|>",
        "pad_token": "<|pad|>",
        "unk_token": None,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 512,
        "chat_template": "{% for message in messages %}{{ message['content'] }}{% endfor %}",
    }
    return {"tokenizer.json": tokenizer, "tokenizer_config.json": tokenizer_config, "config.json": config,
            "generation_config.json": generation}


def main():
    default = pathlib.Path(__file__).resolve().parents[2] / "models" / "quickstart-base"
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in build().items():
        (folder / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"wrote {folder}")


if __name__ == "__main__":
    main()
