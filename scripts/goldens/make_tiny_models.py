#!/usr/bin/env python3
"""Makes the tiny models under tests/goldens/models with transformers, and their float64 reference numbers.

    python scripts/goldens/make_tiny_models.py [--out tests/goldens/models] [--check]

Needs transformers==5.17.0, torch==2.11.0, numpy. Each folder is a Hugging Face model folder (random weights) plus
golden.json:

    {"versions": {...}, "family", "sequences": [{
        "ids": [T],                       the token ids
        "logprobs": [T-1],                log softmax(logits[t])[ids[t+1]], float64
        "entropy": [T-1],                 of the same distributions, nats
        "logit_positions": [P],           first, middle and last token
        "logits": [P][V],                 float64 values, 12 digits
        "float32_max_abs_logit_error",    how far transformers itself is off in float32
        "float32_max_abs_logprob_error"}]}

The reference is `forward_float64` below: the published architecture in float64 throughout, on the weights exactly as
stored. transformers computes norms, RoPE and softmax in float32 whatever the model's dtype, so it can't give such
numbers; its float32 result must lie within 2e-5 of them, or nothing is written. --check recomputes and compares.
"""

import argparse
import json
import math
import pathlib
import shutil
import sys
import tempfile

import torch
import transformers
from safetensors.torch import load_file
from transformers import LlamaConfig, MistralConfig, Olmo2Config, Qwen2Config, Qwen3Config

LENGTHS = [1, 7, 40, 130]
SHAPE = dict(
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=512,
    rms_norm_eps=1e-5,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=0,
)
PLAIN_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
# original_max_position_embeddings is small, so that the 130-token sequence reaches every branch of the scaling.
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 5000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}

# These get config.json in the form that transformers 4 wrote and most published folders have.
OLD_STYLE = {"llama3rope", "qwen2", "olmo2"}

# name: (config, dtype stored, largest shard or None)
MODELS = {
    "llama": (LlamaConfig(**SHAPE, vocab_size=160, rope_parameters=PLAIN_ROPE), torch.float32, None),
    "llama_tied_sharded": (
        LlamaConfig(**(SHAPE | {"num_hidden_layers": 3}), vocab_size=192, head_dim=32, rope_parameters=PLAIN_ROPE,
                    tie_word_embeddings=True),
        torch.float32,
        "150KB",
    ),
    "llama3rope": (
        LlamaConfig(**SHAPE, vocab_size=128, head_dim=32, rope_parameters=LLAMA3_ROPE), torch.float32, None),
    "llama_bf16": (
        LlamaConfig(**SHAPE, vocab_size=160, rope_parameters=PLAIN_ROPE, tie_word_embeddings=True), torch.bfloat16, None),
    "llama_bias": (
        LlamaConfig(**SHAPE, vocab_size=128, rope_parameters=PLAIN_ROPE, attention_bias=True), torch.float32, None),
    "qwen2": (
        Qwen2Config(**SHAPE, vocab_size=144, rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}),
        torch.float32,
        None,
    ),
    "qwen3": (
        Qwen3Config(**SHAPE, vocab_size=176, head_dim=32, tie_word_embeddings=True,
                    rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}),
        torch.float32,
        None,
    ),
    "qwen3_bf16": (
        Qwen3Config(**SHAPE, vocab_size=128, head_dim=16, rope_parameters=PLAIN_ROPE), torch.bfloat16, None),
    # Mistral-Nemo's shape: heads that are wider than hidden_size / heads, and no window.
    "mistral": (
        MistralConfig(**SHAPE, vocab_size=168, head_dim=48, sliding_window=None,
                      rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}),
        torch.float32,
        None,
    ),
    "olmo2": (
        Olmo2Config(**SHAPE, vocab_size=152, rope_parameters={"rope_type": "default", "rope_theta": 500000.0}),
        torch.float32,
        None,
    ),
}


def rope_frequencies(config) -> torch.Tensor:
    """Inverse frequencies in float64, from the published formulas (Llama-3: arXiv 2407.21783 and its reference code)."""
    rope = config.rope_parameters
    dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    freqs = [rope["rope_theta"] ** (-2 * i / dim) for i in range(dim // 2)]
    if rope["rope_type"] != "llama3":
        return torch.tensor(freqs, dtype=torch.float64)
    low, high, original = rope["low_freq_factor"], rope["high_freq_factor"], rope["original_max_position_embeddings"]
    scaled = []
    for f in freqs:
        wavelength = 2 * math.pi / f
        if wavelength < original / high:
            scaled.append(f)
        elif wavelength > original / low:
            scaled.append(f / rope["factor"])
        else:
            smooth = (original / wavelength - low) / (high - low)
            scaled.append((1 - smooth) * f / rope["factor"] + smooth * f)
    return torch.tensor(scaled, dtype=torch.float64)


def rms_norm(x, weight, eps):
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps) * weight


def rotate(x, cos, sin):
    """Turns the pair (x[i], x[i + D/2]) by its angle; x is [heads, T, D]."""
    half = x.shape[-1] // 2
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin


def forward_float64(config, weights: dict[str, torch.Tensor], ids: list[int], maps: list | None = None) -> torch.Tensor:
    """Logits [T, V] in float64; each layer's attention distributions [heads, T, T] are appended to `maps`."""
    w = {name: t.double() for name, t in weights.items()}
    tokens, eps = len(ids), config.rms_norm_eps
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    angles = torch.arange(tokens, dtype=torch.float64)[:, None] * rope_frequencies(config)
    cos, sin = torch.cat([angles, angles], -1).cos(), torch.cat([angles, angles], -1).sin()
    future = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)

    def linear(x, name):
        y = x @ w[name + ".weight"].T
        return y + w[name + ".bias"] if name + ".bias" in w else y

    def attention(x, at):
        q, k, v = (linear(x, f"{at}.{n}_proj") for n in "qkv")
        if config.model_type == "olmo2":  # over the whole width, before it is cut into heads
            q, k = rms_norm(q, w[f"{at}.q_norm.weight"], eps), rms_norm(k, w[f"{at}.k_norm.weight"], eps)
        q, k, v = (t.view(tokens, h, -1).transpose(0, 1) for t, h in ((q, heads), (k, kv_heads), (v, kv_heads)))
        if config.model_type == "qwen3":
            q, k = rms_norm(q, w[f"{at}.q_norm.weight"], eps), rms_norm(k, w[f"{at}.k_norm.weight"], eps)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        k, v = (t.repeat_interleave(heads // kv_heads, 0) for t in (k, v))
        scores = (q @ k.transpose(1, 2)) / math.sqrt(q.shape[-1])
        probs = torch.softmax(scores.masked_fill(future, -math.inf), -1)
        if maps is not None:
            maps.append(probs)
        mixed = probs @ v
        return linear(mixed.transpose(0, 1).reshape(tokens, -1), f"{at}.o_proj")

    def mlp(x, at):
        gate = linear(x, f"{at}.gate_proj")
        return linear(gate * torch.sigmoid(gate) * linear(x, f"{at}.up_proj"), f"{at}.down_proj")

    x = w["model.embed_tokens.weight"][torch.tensor(ids)]
    for i in range(config.num_hidden_layers):
        at = f"model.layers.{i}"
        norm = lambda x, name: rms_norm(x, w[f"{at}.{name}_layernorm.weight"], eps)  # noqa: E731, B023
        if config.model_type == "olmo2":
            x = x + norm(attention(x, f"{at}.self_attn"), "post_attention")
            x = x + norm(mlp(x, f"{at}.mlp"), "post_feedforward")
        else:
            x = x + attention(norm(x, "input"), f"{at}.self_attn")
            x = x + mlp(norm(x, "post_attention"), f"{at}.mlp")
    output = "model.embed_tokens.weight" if config.tie_word_embeddings else "lm_head.weight"
    return rms_norm(x, w["model.norm.weight"], eps) @ w[output].T


def random_model(name: str, seed: int):
    config, dtype, _ = MODELS[name]
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for key, p in model.named_parameters():
            if "norm" in key:
                p.uniform_(0.5, 1.5)  # the usual ones would hide a forgotten scale
            elif key.endswith("bias"):
                p.normal_(0.0, 0.3)
            else:
                p.normal_(0.0, 1.0 if "embed" in key else 0.8 / math.sqrt(p.shape[1]))
    if config.tie_word_embeddings:  # keep tied logits in a range a language model has
        with torch.no_grad():
            model.get_input_embeddings().weight.mul_(0.25)
    return model.to(dtype).eval()


def to_old_style(path: pathlib.Path) -> None:
    """Rewrites config.json: rope_theta and rope_scaling at the top, torch_dtype for dtype."""
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    config["torch_dtype"] = config.pop("dtype")
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def measure(folder: pathlib.Path, ids: list[int]) -> dict:
    tokens = torch.tensor([ids])
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    stored = {name: t for shard in folder.glob("*.safetensors") for name, t in load_file(shard).items()}
    logits = forward_float64(model.config, stored, ids)
    with torch.no_grad():
        single = model(tokens).logits[0].double()
    torch.testing.assert_close(single, logits, rtol=2e-5, atol=2e-5)
    logp = torch.log_softmax(logits, -1)
    chosen = lambda lp: lp[:-1].gather(1, tokens[0, 1:, None])[:, 0]  # noqa: E731
    positions = sorted({0, len(ids) // 2, len(ids) - 1})
    logprob_error = (chosen(torch.log_softmax(single, -1)) - chosen(logp)).abs()
    digits = lambda xs: [float(f"{x:.12g}") for x in xs.tolist()]  # noqa: E731
    return {
        "ids": ids,
        "logprobs": digits(chosen(logp)),
        "entropy": digits(-(logp.exp() * logp).sum(-1)[:-1]),
        "logit_positions": positions,
        "logits": [digits(logits[p]) for p in positions],
        "float32_max_abs_logit_error": float((single - logits).abs().max()),
        "float32_max_abs_logprob_error": float(logprob_error.max()) if len(ids) > 1 else 0.0,
    }


def make(name: str, seed: int, folder: pathlib.Path) -> dict:
    """Writes the model folder and its golden.json; gives the golden back."""
    config, _, shard = MODELS[name]
    extra = {"max_shard_size": shard} if shard else {}
    random_model(name, seed).save_pretrained(folder, **extra)
    if name in OLD_STYLE:
        to_old_style(folder / "config.json")
    picks = torch.Generator().manual_seed(seed)
    ids = [torch.randint(3, config.vocab_size, (n,), generator=picks).tolist() for n in LENGTHS]
    golden = {
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "family": config.model_type,
        "sequences": [measure(folder, x) for x in ids],
    }
    (folder / "golden.json").write_text(json.dumps(golden) + "\n")
    for path in folder.iterdir():
        path.chmod(0o644)
    worst = max(s["float32_max_abs_logit_error"] for s in golden["sequences"])
    size = sum(p.stat().st_size for p in folder.iterdir())
    print(f"{name}: {size / 1024:.0f} KiB, float32 logits off by {worst:.1e}")
    return golden


def same(old: dict, new: dict) -> bool:
    """Whether two goldens agree to 1e-9; versions and float32 errors may differ."""
    for a, b in zip(old["sequences"], new["sequences"], strict=True):
        if a["ids"] != b["ids"] or a["logit_positions"] != b["logit_positions"]:
            return False
        for key in ("logprobs", "entropy", "logits"):
            if not torch.allclose(torch.tensor(a[key]).double(), torch.tensor(b[key]).double(), rtol=1e-9, atol=1e-9):
                return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = pathlib.Path(__file__).resolve().parents[2]
    parser.add_argument("--out", type=pathlib.Path, default=root / "tests/goldens/models")
    parser.add_argument("--check", action="store_true", help="recompute from the stored weights and compare")
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.disable_progress_bar()
    if args.check:
        bad = []
        for name in MODELS:
            old = json.loads((args.out / name / "golden.json").read_text())
            new = {"sequences": [measure(args.out / name, s["ids"]) for s in old["sequences"]]}
            if not same(old, new):
                bad.append(name)
        print(f"{len(MODELS) - len(bad)} of {len(MODELS)} goldens confirmed" + (f"; not: {bad}" if bad else ""))
        sys.exit(1 if bad else 0)
    for seed, name in enumerate(MODELS):
        with tempfile.TemporaryDirectory() as scratch:
            aside = pathlib.Path(scratch) / name
            make(name, seed, aside)
            shutil.rmtree(args.out / name, ignore_errors=True)
            shutil.copytree(aside, args.out / name)


if __name__ == "__main__":
    main()
