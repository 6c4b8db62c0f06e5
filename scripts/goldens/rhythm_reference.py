"""The attention rhythm in float64, from full attention matrices: the definitions of docs/rhythm.md, as plainly as they read.

Nothing here is shared with Tactus: it is what the decode pass's sums are held against. numpy only.
"""

import math
from fractions import Fraction

import numpy as np

QUANTILES = {"waad": Fraction("0.5"), "delta": Fraction("0.6")}


def sampled_layers(num_layers: int) -> list[int]:
    low, high = num_layers // 3, 2 * num_layers // 3
    layers = {low + math.floor(Fraction((high - low) * i, 4) + Fraction(1, 2)) for i in range(5)}
    return sorted(layers)


def count(share: str, n: int) -> int:
    return max(1, math.floor(Fraction(share) * n))


def top(values, n: int, allowed=None) -> list[int]:
    """The n positions with the largest values, ties to the earlier."""
    order = sorted(range(len(values)) if allowed is None else allowed, key=lambda t: (-values[t], t))
    return sorted(order[:n])


def quantile(values, q: Fraction) -> float:
    ordered = sorted(values)
    place = q * (len(ordered) - 1)
    low = math.floor(place)
    part = float(place - low)
    return ordered[low] if part == 0 else ordered[low] + part * (ordered[low + 1] - ordered[low])


def measure(maps, layers, prompt: int, sampled=None, window=10, horizon=(10, 100), head_share="0.3") -> dict:
    """maps[l] is [heads, P + T, P + T], causal rows that sum to 1. sampled: which of the T response tokens are the model's,
    of a conversation; all of them when not given. Every list is over these N tokens."""
    heads = [(layer, h) for layer in layers for h in range(maps[layer].shape[0])]
    total = maps[layers[0]].shape[-1]
    places = list(range(total - prompt)) if sampled is None else list(sampled)
    rows = [np.asarray(maps[layer][h], dtype=np.float64)[prompt:][places] for layer, h in heads]  # each [N, P + T]
    tokens = len(places)
    distance = (prompt + np.array(places))[:, None] - np.arange(total)[None, :]
    back = np.maximum(distance, 0)
    span = [float((a * back).sum(1).mean()) for a in rows]
    order = sorted(range(len(heads)), key=lambda i: (span[i], i))
    members = count(head_share, len(heads))
    local, far = sorted(order[:members]), sorted(order[-members:])
    mean_local, mean_far = sum(rows[i] for i in local) / members, sum(rows[i] for i in far) / members
    waad = (mean_local * np.minimum(back, window)).sum(1)
    # Between two tokens that stand side by side: so not from the last of a turn to the first of the next.
    delta = [abs(waad[t] - waad[t + 1]) if places[t] + 1 in places[t + 1 : t + 2] else 0.0 for t in range(tokens)]
    fai, eligible = [], []
    for s in range(tokens):
        seen = [t for t in range(tokens) if horizon[0] <= places[t] - places[s] <= horizon[1]]
        fai.append(float(np.mean([mean_far[t, prompt + places[s]] for t in seen])) if len(seen) else 0.0)
        eligible += [s] if seen else []
    return {
        "layers": list(layers),
        "local_heads": [list(heads[i]) for i in local],
        "global_heads": [list(heads[i]) for i in far],
        "span": [[*heads[i], span[i]] for i in range(len(heads))],
        "waad": [float(x) for x in waad],
        "delta": [float(x) for x in delta],
        "fai": fai,
        "eligible": eligible,
        "places": places,
    }


def flow(maps, layers, prompt: int, sampled=None, answer_tokens=8) -> list[float]:
    """Throughput of each response token by the mean of all heads, where the answer is the last tokens, of the last turn.
    sampled: as above; flow enters at all other tokens."""
    mean = np.mean([np.asarray(maps[layer][h], dtype=np.float64) for layer in layers for h in range(maps[layer].shape[0])], 0)
    total = mean.shape[0]
    given = np.ones(total, dtype=bool)
    given[prompt + np.array(range(total - prompt) if sampled is None else sampled, dtype=int)] = False
    capacity = np.tril(mean, -1).T  # [from, to]
    capacity[:, given] = 0  # rows of the prompt and of the environment are not measured
    last_turn = np.flatnonzero(given)[-1] + 1
    ends = np.arange(total) >= max(last_turn, total - answer_tokens)
    capacity[ends] = 0  # flow ends at the first token of the answer that it meets
    reach = np.linalg.solve(np.eye(total) - capacity, ends.astype(np.float64))
    if reach[given].sum() == 0:
        return [0.0] * (total - prompt)
    onward = capacity * reach[None, :] / np.where(reach > 0, reach, 1)[:, None]  # rows sum to 1 where there is a way on
    injected = np.where(given, reach, 0) / reach[given].sum()
    through = np.linalg.solve(np.eye(total) - onward.T, injected)
    return [float(x) for x in through[prompt:]]


def credit(rhythm: dict, entropy, q="0.4", amplification=1.5, lookback=3, alpha=0.5) -> dict:
    """Each strategy's weights from given metrics."""
    waad, delta, fai, eligible, places = (rhythm[k] for k in ("waad", "delta", "fai", "eligible", "places"))
    tokens, bonus = len(waad), amplification - 1
    n = count(q, tokens)

    def amplified(chosen):
        return [1 + bonus if t in set(chosen) else 1.0 for t in range(tokens)]

    anchors = top(fai, n, eligible)
    tau_waad, tau_delta = quantile(waad, QUANTILES["waad"]), quantile(delta, QUANTILES["delta"])
    dominated, intros = set(), set()
    for s in anchors:
        before = [u for u in range(max(0, s - lookback), s) if places[s] - places[u] == s - u]  # of its turn
        if before and waad[s] <= tau_waad and max(delta[u] for u in before) >= tau_delta:
            dominated.add(s)
            intros.add(max(before, key=lambda u: (delta[u], u)))
    coupled = [
        1 + bonus * (t in anchors and t not in dominated) + (1 - alpha) * bonus * (t in dominated) + alpha * bonus * (t in intros)
        for t in range(tokens)
    ]
    return {
        "LOCAL_CHUNK": amplified(top(delta, n)),
        "GLOBAL_ANCHOR": amplified(anchors),
        "COUPLED": coupled,
        "ENTROPY": amplified(top(entropy, n)),
        "BOTTOM_DELTA": amplified(top([-x for x in delta], n)),
        "BOTTOM_FAI": amplified(top([-x for x in fai], n, eligible)),
    }
