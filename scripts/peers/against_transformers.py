#!/usr/bin/env python3
"""Holds the tactus programs against transformers and tokenizers on a real model.

    python scripts/peers/against_transformers.py --tactus build/release/bin/tactus --model FP32_FOLDER
        [--bf16-model FOLDER] [--checkpoint RUN/checkpoints/step-NNNNNN] [--only NAME ...] [--strings 100000]

  generate    temperature 0 gives the tokens transformers gives in float32 (ten prompts, 64 tokens)
  score       log-probs of both paths agree with transformers to 1e-4 per token
  bits        actor's and learner's log-probs have the same bits, for batch 1, 7 and 32 (>= 20,000 tokens); with
              --bf16-model in bf16 too
  tokenize    no difference from tokenizers on generated strings, for SmolLM2's tokenizer and the goldens' Qwen- and
              Llama-3-style ones; chat messages against apply_chat_template
  rhythm      spans, WAAD, Delta and FAI agree with the matrices of transformers' eager attention to 1e-4, head classes and
              credit weights are equal but for ties; responses of 1 to 1,000 tokens, under preemption
  checkpoint  its model/ loads in transformers with nothing missing and gives the same log-probs to 1e-5

One line per check, then "N passed, N failed". Needs the venv that scripts/peers/run.sh makes.
"""

import argparse
import json
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

import torch
import transformers
from tokenizers import Tokenizer

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from base.local import ROOT  # noqa: E402
from goldens.smollm2_reference import NEW_TOKENS, prompts, reference  # noqa: E402
from goldens.tokenizer_strings import Strings  # noqa: E402
from peers.rhythm import check_rhythm  # noqa: E402

TIMEOUT_S = 3600


class Bench:
    """The program under test, a scratch folder for its JSON lines, and what transformers says."""

    def __init__(self, args, scratch: pathlib.Path):
        self.args, self.scratch = args, scratch
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(args.model)
        self._reference = None

    def reference(self) -> list[dict]:
        if self._reference is None:
            model = transformers.AutoModelForCausalLM.from_pretrained(self.args.model, dtype=torch.float32).eval()
            self._reference = [reference(model, name, ids) for name, ids in prompts(self.tokenizer)]
        return self._reference

    def tactus(self, command: str, lines: list[dict], *flags: str, model: pathlib.Path | None = None) -> list[dict]:
        """Runs one command over JSON lines; output lines in the order of their ids' first appearance."""
        source, sink = self.scratch / f"{command}.in.jsonl", self.scratch / f"{command}.out.jsonl"
        source.write_text("".join(json.dumps(line) + "\n" for line in lines))
        call = [str(self.args.tactus), command, "--model", str(model or self.args.model), "--input", str(source), *flags]
        if command != "generate":
            call += ["--output", str(sink)]
        done = subprocess.run(call, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT_S)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(call)} left with exit code {done.returncode}: {done.stderr.strip()}")
        output = done.stdout if command == "generate" else sink.read_text()
        return [json.loads(line) for line in output.split("\n") if line]  # splitlines would split at U+2028 too


def worst_difference(got: list[float], want: list[float]) -> float:
    if len(got) != len(want):
        raise RuntimeError(f"{len(got)} log-probs, expected {len(want)}")
    return max(abs(a - b) for a, b in zip(got, want))


def check_generate(bench: Bench) -> str:
    wanted = bench.reference()
    lines = [{"id": x["id"], "prompt_ids": x["prompt_ids"]} for x in wanted]
    got = bench.tactus("generate", lines, "--max-tokens", str(NEW_TOKENS), "--temperature", "0")
    answers = {x["id"]: x["ids"] for x in got}
    wrong = [x["id"] for x in wanted if answers.get(x["id"]) != x["response_ids"]]
    if wrong:
        raise RuntimeError(f"other tokens than transformers for {wrong}")
    return f"{len(wanted)} prompts, {sum(len(x['response_ids']) for x in wanted)} tokens, all equal"


def check_score(bench: Bench) -> str:
    wanted = bench.reference()
    lines = [{key: x[key] for key in ("id", "prompt_ids", "response_ids")} for x in wanted]
    worst = {}
    for path in ("actor", "learner"):
        got = {x["id"]: x["logprobs"] for x in bench.tactus("score", lines, "--path", path)}
        worst[path] = max(worst_difference(got[x["id"]], x["logprobs"]) for x in wanted)
        if worst[path] > 1e-4:
            raise RuntimeError(f"--path {path} is off by {worst[path]:.2g}, allowed 1e-4")
    return ", ".join(f"{path} off by at most {w:.2g}" for path, w in worst.items())


def score_lines(vocab: int, sequences: int) -> list[dict]:
    """Random sequences of mixed lengths: prompts of 1 to 80 tokens, responses of 1 to 400."""
    draw = random.Random(5)
    pick = lambda low, high: [draw.randrange(vocab) for _ in range(draw.randint(low, high))]  # noqa: E731
    return [{"id": f"s{i}", "prompt_ids": pick(1, 80), "response_ids": pick(1, 400)} for i in range(sequences)]


def check_bits(bench: Bench) -> str:
    everything = score_lines(len(bench.tokenizer), 115)
    tokens = sum(len(x["response_ids"]) for x in everything)
    if tokens < 20000:
        raise RuntimeError(f"only {tokens} tokens drawn, expected 20,000")
    models = [m for m in (bench.args.model, bench.args.bf16_model) if m]
    done = []
    for model in models:
        learner = {x["id"]: x["bits"] for x in bench.tactus("score", everything, "--path", "learner", model=model)}
        for batch in (32, 7, 1):
            for path in ("actor", "learner"):
                got = bench.tactus("score", everything, "--path", path, "--batch", str(batch), model=model)
                differing = sum(a != b for x in got for a, b in zip(x["bits"], learner[x["id"]], strict=True))
                count = sum(len(x["bits"]) for x in got)
                if differing or len(got) != len(everything):
                    raise RuntimeError(f"{model.name}, {path}, batch {batch}: {differing} of {count} tokens differ")
        done.append(model.name)
    return f"0 differing bits over {tokens} tokens ({', '.join(done)})"


def tokenizer_folders(bench: Bench) -> dict[str, pathlib.Path]:
    """Model folders that hold nothing but another tokenizer."""
    folders = {"smollm2": bench.args.model}
    for name in ("qwen", "llama3"):
        folder = bench.scratch / name
        folder.mkdir()
        shutil.copy(ROOT / "tests/goldens/tokenizer" / f"{name}.json", folder / "tokenizer.json")
        shutil.copy(bench.args.model / "config.json", folder)
        folders[name] = folder
    return folders


def check_tokenize(bench: Bench) -> str:
    for name, folder in tokenizer_folders(bench).items():
        reference = Tokenizer.from_file(str(folder / "tokenizer.json"))
        added = [t.content for t in reference.get_added_tokens_decoder().values()]
        strings = Strings(2026, added)
        texts = [strings.string() for _ in range(bench.args.strings)]
        got = bench.tactus("tokenize", [{"id": i, "text": t} for i, t in enumerate(texts)], model=folder)
        wanted = [x.ids for x in reference.encode_batch(texts)]
        wrong = [i for i, ids in enumerate(wanted) if got[i]["ids"] != ids]
        if wrong or len(got) != len(texts):
            raise RuntimeError(f"{name}: {len(wrong)} of {len(texts)} strings differ, the first is {texts[wrong[0]]!r}")
    check_chat(bench)
    return f"{bench.args.strings} strings with each of 3 tokenizers, no difference; chat prompts equal"


def check_chat(bench: Bench) -> None:
    talks = [
        [{"role": "user", "content": "Hello"}],
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?\n\n  Why not?"}],
        [{"role": "user", "content": "1+1"}, {"role": "assistant", "content": "2"}, {"role": "user", "content": "sure?"}],
    ]
    got = bench.tactus("tokenize", [{"id": i, "messages": m} for i, m in enumerate(talks)])
    for talk, line in zip(talks, got, strict=True):
        wanted = bench.tokenizer.apply_chat_template(talk, add_generation_prompt=True, return_dict=True)["input_ids"]
        if line["ids"] != list(wanted):
            raise RuntimeError(f"the chat template gives other ids for {talk}")


def check_checkpoint(bench: Bench) -> str:
    folder = bench.args.checkpoint / "model"
    model, info = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    problems = {key: value for key, value in info.items() if value}
    if problems:
        raise RuntimeError(f"transformers loads {folder} with complaints: {problems}")
    transformers.AutoTokenizer.from_pretrained(folder)
    lines = score_lines(model.config.vocab_size, 20)
    limit = model.config.max_position_embeddings
    for line in lines:
        line["response_ids"] = line["response_ids"][: limit - len(line["prompt_ids"])]
    got = {x["id"]: x["logprobs"] for x in bench.tactus("score", lines, "--path", "learner", model=folder)}
    worst = 0.0
    for line in lines:
        ids = torch.tensor([line["prompt_ids"] + line["response_ids"]])
        with torch.no_grad():
            logp = torch.log_softmax(model.eval()(ids).logits[0].double(), -1)
        wanted = logp[:-1].gather(1, ids[0, 1:, None])[len(line["prompt_ids"]) - 1 :, 0].tolist()
        # Relative to the log-prob, whose size is that of the logits it comes from.
        worst = max(worst, max(abs(a - b) / max(1.0, abs(b)) for a, b in zip(got[line["id"]], wanted, strict=True)))
    if worst > 1e-5:
        raise RuntimeError(f"log-probs are off by {worst:.2g} relative, allowed 1e-5")
    return f"loads cleanly; log-probs off by at most {worst:.2g} relative"


CHECKS = {
    "generate": check_generate,
    "score": check_score,
    "bits": check_bits,
    "tokenize": check_tokenize,
    "rhythm": check_rhythm,
    "checkpoint": check_checkpoint,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tactus", type=pathlib.Path, default=ROOT / "build/release/bin/tactus")
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--bf16-model", type=pathlib.Path)
    parser.add_argument("--checkpoint", type=pathlib.Path)
    parser.add_argument("--only", nargs="+", choices=CHECKS, default=list(CHECKS))
    parser.add_argument("--strings", type=int, default=100000)
    args = parser.parse_args()
    transformers.logging.disable_progress_bar()
    names = [name for name in args.only if name != "checkpoint" or args.checkpoint]
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(args, pathlib.Path(scratch))
        for name in names:
            try:
                print(f"ok     {name}: {CHECKS[name](bench)}", flush=True)
            except (RuntimeError, KeyError, ValueError, OSError, subprocess.TimeoutExpired) as error:
                failed += 1
                print(f"FAILED {name}: {type(error).__name__}: {error}", flush=True)
    print(f"{len(names) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
