#!/usr/bin/env python3
"""Writes the job that all sides of a comparison do: prompts and given completions of fixed lengths, as token ids.

    python bench/peers/workload.py MODEL OUT.json [--sequences 32] [--prompt 64] [--new 128]

Prompts are different windows of one English text. Completions (for the update, where nothing is sampled) are windows of it
too, so that their log-probs are those of ordinary text and not of noise.
"""

import argparse
import json

from transformers import AutoTokenizer

TEXT = """The harbour master kept three ledgers. In the first he wrote which ships had come in, at what hour, and how much
water they drew; in the second, what they carried and for whom; in the third, which nobody else was allowed to open, the things
that had been promised on the quay and the names of those who had promised them. When a captain asked for a berth, the old man
would turn the pages of all three before he answered. A ship that draws five metres cannot lie where the sand has risen to four,
he used to say, and a man who has promised the same barrel twice will promise it a third time. One autumn morning a schooner came
in with 48 barrels of oil. Six were for the chandler at 7 coins each, half of the others for the lighthouse, and the rest were to
be sold on the quay for 5 coins each. How much would the captain have in his purse that evening, if the harbour took one coin out
of every nine? The clerk began with the barrels: 48 less 6 leaves 42, and half of 42 is 21. """


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("out")
    parser.add_argument("--sequences", type=int, default=32)
    parser.add_argument("--prompt", type=int, default=64)
    parser.add_argument("--new", type=int, default=128)
    args = parser.parse_args()
    ids = AutoTokenizer.from_pretrained(args.model)(TEXT * 4, add_special_tokens=False)["input_ids"]
    if len(ids) < 5 * args.sequences + args.prompt + args.new:
        raise SystemExit("the text is too short for that many tokens")
    window = lambda i, start, n: ids[5 * i + start : 5 * i + start + n]  # noqa: E731
    work = {
        "prompts": [window(i, 0, args.prompt) for i in range(args.sequences)],
        "completions": [window(i, args.prompt, args.new) for i in range(args.sequences)],
        "new_tokens": args.new,
    }
    with open(args.out, "w") as f:
        json.dump(work, f)


if __name__ == "__main__":
    main()
