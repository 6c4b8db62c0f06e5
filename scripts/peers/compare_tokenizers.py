"""Counts differences between our tokenizer and Hugging Face's, on generated strings and conversations.

    python scripts/peers/compare_tokenizers.py [--tactus build/release/bin/tactus] [--smollm2 FOLDER] [--strings 100000]
        [--conversations 2000] [--seed 1]

Needs tokenizers, and for conversations transformers, jinja2 and trl, whose package holds the published chat templates.
FOLDER is SmolLM2-135M-Instruct as a Hugging Face folder; without it only the small tokenizers of tests/goldens are run.
One line per tokenizer on standard output; exit code 1 when anything differs.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from tokenizers import Tokenizer  # noqa: E402

from base.local import ROOT  # noqa: E402
from goldens import tokenizer_chat  # noqa: E402
from goldens.tokenizer_strings import Strings  # noqa: E402

SMALL = ROOT / "tests/goldens/tokenizer"


def ours(tactus, folder, lines):
    """What `tactus tokenize` replies to JSON lines, in order."""
    text = "".join(json.dumps(line) + "\n" for line in lines)
    result = subprocess.run([tactus, "tokenize", "--model", str(folder), "--input", "-", "--output", "-"], input=text,
                            stdout=subprocess.PIPE, text=True, encoding="utf-8", check=True)
    replies = [json.loads(line) for line in result.stdout.split("\n") if line]
    assert [reply["id"] for reply in replies] == [line["id"] for line in lines], "replies missing or out of order"
    return replies


def report(name, what, differing, total, first):
    print(f"{name}: {differing} of {total} {what} differ", flush=True)
    if first is not None:
        print(f"  first: {first}", flush=True)
    return differing


def compare_strings(tactus, name, folder, count, seed):
    reference = Tokenizer.from_file(str(folder / "tokenizer.json"))
    added = [token.content for token in reference.get_added_tokens_decoder().values()]
    strings = Strings(seed, added)
    texts = [strings.invalid_utf8().decode("utf-8", errors="replace") if i % 10 == 0 else strings.string()
             for i in range(count)]
    differing, first = 0, None
    for text, reply in zip(texts, ours(tactus, folder, [{"id": i, "text": text} for i, text in enumerate(texts)])):
        ids = reference.encode(text).ids
        if ids != reply["ids"] or reference.decode(ids, skip_special_tokens=False) != reply["text"]:
            differing += 1
            first = first or (text, ids, reply)
    return report(name, "strings", differing, count, first)


def compare_conversations(tactus, name, folder, template, special, count, seed):
    reference = Tokenizer.from_file(str(folder / "tokenizer.json"))
    strings = tokenizer_chat.strings_for_chat(seed)
    lines = [{"id": i, "messages": tokenizer_chat.conversation(strings)} for i in range(count)]
    differing, first = 0, None
    for line, reply in zip(lines, ours(tactus, folder, lines)):
        prompt = tokenizer_chat.render(template, special, line["messages"])
        if reference.encode(prompt, add_special_tokens=False).ids != reply["ids"]:
            differing += 1
            first = first or (line, prompt, reply)
    return report(name, "conversations", differing, count, first)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tactus", default=str(ROOT / "build/release/bin/tactus"))
    parser.add_argument("--smollm2", type=pathlib.Path)
    parser.add_argument("--strings", type=int, default=100000)
    parser.add_argument("--conversations", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    differing = 0
    with tempfile.TemporaryDirectory() as temporary:
        folders = {name: pathlib.Path(temporary) / name for name in ("qwen", "llama3", "smol", "odd", "tekken")}
        for name, folder in folders.items():
            folder.mkdir()
            shutil.copy(SMALL / f"{name}.json", folder / "tokenizer.json")
        if args.smollm2:
            folders["SmolLM2"] = args.smollm2
        for name, folder in folders.items():
            differing += compare_strings(args.tactus, name, folder, args.strings, args.seed)
        if args.conversations:
            for name, template, tokenizer, special in tokenizer_chat.templates():
                folder = folders[tokenizer]
                (folder / "chat_template.jinja").write_text(template)
                (folder / "tokenizer_config.json").write_text(json.dumps(special))
                differing += compare_conversations(args.tactus, f"{name} template", folder, template, special,
                                                   args.conversations, args.seed)
            if args.smollm2:
                template = (args.smollm2 / "chat_template.jinja").read_text()
                differing += compare_conversations(args.tactus, "SmolLM2 template", args.smollm2, template, {},
                                                   args.conversations, args.seed)
    sys.exit(1 if differing else 0)


if __name__ == "__main__":
    main()
