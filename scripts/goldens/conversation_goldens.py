#!/usr/bin/env python3
"""Makes tests/goldens/rhythm/conversations: what the tiny models say in conversations, and its rhythm in float64.

    python scripts/goldens/conversation_goldens.py [--out tests/goldens/rhythm/conversations] [--check]

Needs numpy and safetensors. One FAMILY.jsonl per model. In a conversation the model takes the likeliest token each time
(by 0.001 or more, so that float32 takes it too) until a stop id or max_turn_tokens ends its turn; words are what the
environment says after each turn but the last. The metrics are rhythm_reference.py's, over the model's tokens. The forward
pass below is written for this and shares nothing with make_tiny_models.py, whose log-probs in each model's golden.json it
has to give to 1e-9 before anything is written. --check recomputes and compares.
"""

import json
import pathlib
import random
import sys

import numpy as np
from safetensors.numpy import load_file

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from goldens.rhythm_files import make, short, shortened  # noqa: E402
from goldens.rhythm_reference import credit, flow, measure, sampled_layers  # noqa: E402

# Prompt, words after each turn: the second's fill a whole window of FAI.
SHAPES = [(5, [1, 9, 30]), (33, [12, 110]), (16, [2, 1, 1, 47])]
MAX_TURN_TOKENS, STOPS, MARGIN = 26, 9, 1e-3


class Model:
    """The published architectures in float64, as they read."""

    def __init__(self, folder: pathlib.Path):
        self.config = json.loads((folder / "config.json").read_text())
        self.weights = {name: x.astype(np.float64) for name, x in load_file(folder / "model.safetensors").items()}
        self.heads, self.kv_heads = self.config["num_attention_heads"], self.config["num_key_value_heads"]
        self.head_dim = self.config.get("head_dim") or self.config["hidden_size"] // self.heads

    def linear(self, x, name):
        return x @ self.weights[name + ".weight"].T + self.weights.get(name + ".bias", 0.0)

    def norm(self, x, name):
        scale = 1 / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + self.config["rms_norm_eps"])
        return x * scale * self.weights[name + ".weight"]

    def rotated(self, x):  # [heads, T, D]
        theta = (self.config.get("rope_parameters") or self.config)["rope_theta"]
        half = self.head_dim // 2
        angle = np.outer(np.arange(x.shape[1]), theta ** (-np.arange(half) / half))
        turn = np.exp(1j * angle) * (x[..., :half] + 1j * x[..., half:])
        return np.concatenate([turn.real, turn.imag], -1)

    def attention(self, x, at, maps):
        kind, tokens = self.config["model_type"], x.shape[0]
        q, k, v = (self.linear(x, f"{at}.{n}_proj") for n in "qkv")
        if kind == "olmo2":
            q, k = self.norm(q, f"{at}.q_norm"), self.norm(k, f"{at}.k_norm")
        q, k, v = (y.reshape(tokens, -1, self.head_dim).swapaxes(0, 1) for y in (q, k, v))
        if kind == "qwen3":
            q, k = self.norm(q, f"{at}.q_norm"), self.norm(k, f"{at}.k_norm")
        q, k = self.rotated(q), self.rotated(k)
        shared = np.arange(self.heads) // (self.heads // self.kv_heads)
        scores = q @ k[shared].swapaxes(1, 2) / np.sqrt(self.head_dim)
        scores[:, np.triu(np.ones((tokens, tokens), dtype=bool), 1)] = -np.inf
        probs = np.exp(scores - scores.max(-1, keepdims=True))
        probs /= probs.sum(-1, keepdims=True)
        maps.append(probs)
        return self.linear((probs @ v[shared]).swapaxes(0, 1).reshape(tokens, -1), f"{at}.o_proj")

    def mlp(self, x, at):
        gate = self.linear(x, f"{at}.gate_proj")
        return self.linear(gate / (1 + np.exp(-gate)) * self.linear(x, f"{at}.up_proj"), f"{at}.down_proj")

    def forward(self, ids):
        """Log-probs [T, V] and each layer's attention [heads, T, T]."""
        x, maps = self.weights["model.embed_tokens.weight"][ids], []
        for i in range(self.config["num_hidden_layers"]):
            at = f"model.layers.{i}"
            if self.config["model_type"] == "olmo2":  # norms after, not before
                x = x + self.norm(self.attention(x, f"{at}.self_attn", maps), f"{at}.post_attention_layernorm")
                x = x + self.norm(self.mlp(x, f"{at}.mlp"), f"{at}.post_feedforward_layernorm")
            else:
                x = x + self.attention(self.norm(x, f"{at}.input_layernorm"), f"{at}.self_attn", maps)
                x = x + self.mlp(self.norm(x, f"{at}.post_attention_layernorm"), f"{at}.mlp")
        out = self.weights.get("lm_head.weight", self.weights["model.embed_tokens.weight"])
        logits = self.norm(x, "model.norm") @ out.T
        logits -= logits.max(-1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(-1, keepdims=True)), maps


def check_forward(model: Model, folder: pathlib.Path) -> None:
    for sequence in json.loads((folder / "golden.json").read_text())["sequences"]:
        ids = sequence["ids"]
        logprobs, _ = model.forward(ids)
        got = [logprobs[t, ids[t + 1]] for t in range(len(ids) - 1)]
        if not np.allclose(got, sequence["logprobs"], rtol=0, atol=1e-9):
            sys.exit(f"{folder}: the forward pass does not give golden.json's log-probs")


def converse(model: Model, draw: random.Random, prompt_tokens: int, words: list[int]):
    """prompt, turns, words and stop ids; None where a choice was too close or no turn is shorter than the longest."""
    ids = lambda n: [draw.randrange(3, model.config["vocab_size"]) for _ in range(n)]  # noqa: E731
    prompt, stops = ids(prompt_tokens), ids(STOPS)
    sequence, turns, said = list(prompt), [], [ids(n) for n in words]
    for turn in range(len(words) + 1):
        turns.append([])
        while len(turns[-1]) < MAX_TURN_TOKENS and (not turns[-1] or turns[-1][-1] not in stops):
            logprobs, _ = model.forward(sequence)
            best = np.sort(logprobs[-1])[-2:]
            if best[1] - best[0] < MARGIN:
                return None
            turns[-1].append(int(logprobs[-1].argmax()))
            sequence.append(turns[-1][-1])
        if turn < len(words):
            sequence += said[turn]
    lengths = {len(turn) for turn in turns}
    return (prompt, turns, said, stops) if len(lengths) > 1 and max(lengths) > 10 else None


def line(model: Model, name: str, prompt, turns, words, stops) -> dict:
    sequence, sampled = list(prompt), []
    for turn, told in zip(turns, [*words, []]):
        sampled += range(len(sequence) - len(prompt), len(sequence) - len(prompt) + len(turn))
        sequence += turn + told
    logprobs, maps = model.forward(sequence)
    drawn = logprobs[[len(prompt) - 1 + t for t in sampled]]
    entropy = -(np.exp(drawn) * drawn).sum(-1)
    layers = sampled_layers(model.config["num_hidden_layers"])
    rhythm = measure(maps, layers, len(prompt), sampled)
    gamma = credit(rhythm, entropy)
    through = flow(maps, layers, len(prompt), sampled)
    return {"id": name, "prompt_ids": prompt, "turns": turns, "words": words, "stop_ids": stops,
            "max_turn_tokens": MAX_TURN_TOKENS, **shortened(rhythm), "flow": short(through[t] for t in sampled),
            "entropy": short(entropy), "gamma": gamma}


def lines_of(family: str, folder: pathlib.Path, draw: random.Random) -> list[dict]:
    model = Model(folder)
    check_forward(model, folder)
    lines = []
    for number, shape in enumerate(SHAPES):
        said = None
        while said is None:
            said = converse(model, draw, *shape)
        lines.append(line(model, f"{family}-{number}", *said))
    return lines


if __name__ == "__main__":
    make(__doc__, pathlib.Path("tests/goldens/rhythm/conversations"), "conversations", lines_of)
