#!/usr/bin/env python3
"""Writes tests/goldens/loss/cases.json: advantages, losses and gradients from their definitions, in 50 digits.

    python3 scripts/goldens/loss_goldens.py

Made with Python 3.11; nothing else is needed. Every estimator x loss x correction, on an ordinary batch and on one with ratios of
e^+-50, some also on one without any signal, and on conversations with rewards by turn, half of those with an entropy bonus; the other options change from case to case. A stop-gradient is a number taken out of the
graph (Var.number), as the papers write it, and the gradient comes from the graph, so that no formula for a slope is used.
"""

from __future__ import annotations

import decimal
import itertools
import json
import pathlib
import random

decimal.getcontext().prec = 50
D = decimal.Decimal
OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/goldens/loss/cases.json"

ESTIMATORS = ["grpo", "dr_grpo", "rloo", "reinforce_pp", "reinforce_pp_baseline"]
LOSSES = ["clip", "gspo", "cispo"]
CORRECTIONS = [None, *itertools.product(["token", "sequence", "geometric"], ["truncate", "mask"])]
KLS = [(0.0, "k3", "loss"), *((0.25, k, place) for k in ("k1", "k2", "k3") for place in ("loss", "reward"))]


class Var:
    """A number and how it came from others: reverse-mode differentiation."""

    def __init__(self, number, parents=()):
        self.number, self.parents, self.slope = D(number), parents, D(0)

    @staticmethod
    def of(x) -> Var:
        return x if isinstance(x, Var) else Var(x)

    def __add__(self, other):
        other = Var.of(other)
        return Var(self.number + other.number, ((self, D(1)), (other, D(1))))

    def __mul__(self, other):
        other = Var.of(other)
        return Var(self.number * other.number, ((self, other.number), (other, self.number)))

    def __sub__(self, other):
        return self + Var.of(other) * -1

    __radd__, __rmul__ = __add__, __mul__

    def exp(self):
        value = self.number.exp()
        return Var(value, ((self, value),))

    def backward(self):
        order, seen = [], set()

        def visit(node):
            if id(node) in seen:
                return
            seen.add(id(node))
            for parent, _ in node.parents:
                visit(parent)
            order.append(node)

        visit(self)
        self.slope = D(1)
        for node in reversed(order):
            for parent, slope in node.parents:
                parent.slope += node.slope * slope


def smaller(a: Var, b: Var) -> Var:
    return a if a.number <= b.number else b


def larger(a: Var, b: Var) -> Var:
    return a if a.number >= b.number else b


def clamp(x: Var, low, high) -> Var:
    return larger(Var(low), smaller(Var(high), x))


def estimate(kind: str, log_ratio):
    """Of KL(a || b), with log_ratio = log b - log a."""
    x = Var.of(log_ratio)
    return {"k1": lambda: x * -1, "k2": lambda: x * x * D("0.5"), "k3": lambda: x.exp() - 1 - x}[kind]()


def mean(values):
    return sum(values) / len(values)


def deviation(values):
    return mean([(v - mean(values)) ** 2 for v in values]).sqrt()


def turns_of(batch):
    """Each row's rewards, and which of them each token is of: of an answer that is no conversation, the one."""
    if "turn_rewards" in batch:
        return batch["turn_rewards"], batch["turns"]
    return [[reward] for reward in batch["rewards"]], [[0] * len(row) for row in batch["mask"]]


def shaped(case, batch):
    given, turns = turns_of(batch)
    rewards = []
    for b, of_turns in enumerate(given):
        trained = [t for t, m in enumerate(batch["mask"][b]) if m]
        own = [D(reward) for reward in of_turns]
        if "overlong_buffer" in case:
            limit, buffer = case["overlong_max"], case["overlong_buffer"]
            if len(trained) > limit:
                own[-1] -= D(case["overlong_penalty"])
            elif len(trained) > limit - buffer:
                own[-1] += D(case["overlong_penalty"]) * D(limit - buffer - len(trained)) / D(buffer)
        if case["kl_place"] == "reward":
            ref, behav = batch["logp_ref"][b], batch["logp_behav"][b]
            for t in trained:
                own[turns[b][t]] -= D(case["kl_beta"]) * estimate(case["kl_estimator"], D(ref[t]) - D(behav[t])).number
        rewards.append(own)
    return rewards


def advantages(case, batch):
    """Of each row a list: of every turn what is earned from it on, against the rows of its group that reached the same turn."""
    returns = {(b, k): sum(own[k:], D(0)) for b, own in enumerate(shaped(case, batch)) for k in range(len(own))}
    groups = {}
    for b, k in returns:
        groups.setdefault((batch["group_ids"][b], k), []).append((b, k))
    result = dict.fromkeys(returns, D(0))
    tiny = D("1e-6")
    for members in [list(returns)] if case["estimator"] == "reinforce_pp" else groups.values():
        own = [returns[one] for one in members]
        if len(set(own)) == 1:
            continue
        for one in members:
            if case["estimator"] in ("grpo", "reinforce_pp"):
                result[one] = (returns[one] - mean(own)) / (deviation(own) + tiny)
            elif case["estimator"] == "rloo":
                result[one] = returns[one] - mean([returns[other] for other in members if other != one])
            else:
                result[one] = returns[one] - mean(own)
    if case["estimator"] == "reinforce_pp_baseline" and len(set(result.values())) > 1:
        spread = deviation(list(result.values())) + tiny
        result = {one: a / spread for one, a in result.items()}
    rows = [[] for _ in batch["group_ids"]]
    for (b, _), a in result.items():
        rows[b].append(a)
    return rows


def importance(case, old, behav, trained, t):
    if case["tis_cap"] is None:
        return D(1)
    logs = [D(old[u]) - D(behav[u]) for u in trained]
    level = case["tis_level"]
    log = {"token": D(old[t]) - D(behav[t]), "sequence": sum(logs), "geometric": mean(logs)}[level]
    weight, cap = log.exp(), D(case["tis_cap"])
    if case["tis_rule"] == "truncate":
        return min(weight, cap)
    return weight if D(case["tis_floor"]) <= weight <= cap else D(0)


def policy_term(case, advantage, weight, new: Var, old, sequence_log_ratio) -> Var:
    low, high = 1 - D(case["eps_low"]), 1 + D(case["eps_high"])
    if case["loss"] == "cispo":
        fixed = clamp(Var((new.number - D(old)).exp()), low, high).number
        return new * (-fixed * weight * advantage)
    if case["loss"] == "gspo":
        ratio = Var(sequence_log_ratio.exp()) * (new - new.number).exp()
    else:
        ratio = (new - D(old)).exp()
    objective = smaller(ratio * advantage, clamp(ratio, low, high) * advantage)
    if case.get("clip_dual") and advantage < 0:
        objective = larger(objective, Var(D(case["clip_dual"]) * advantage))
    return objective * -weight


def evaluate(case, batch):
    of_row, (_, turns) = advantages(case, batch), turns_of(batch)
    rows = len(of_row)
    new = [[Var(x) for x in row] for row in batch["logp_new"]]
    entropy = [[Var(x) for x in row] for row in batch.get("entropy", [])]
    dropped = case.get("truncated", [0] * rows)
    kept = [[t for t, m in enumerate(batch["mask"][b]) if m and not dropped[b]] for b in range(rows)]
    all_tokens = sum(map(len, kept))
    loss, size = Var(0), D(0)
    for b in range(rows):
        old, behav = batch["logp_old"][b], batch["logp_behav"][b]
        for t in kept[b]:
            gamma = D(batch["gamma"][b][t])
            own = of_row[b][turns[b][t]]
            weighted = case["sign"] == "v2" or (case["sign"] == "v1" and own >= 0)
            advantage = own * (gamma if weighted else 1)
            mean_log_ratio = mean([new[b][u].number - D(old[u]) for u in kept[b]])
            term = policy_term(case, advantage, importance(case, old, behav, kept[b], t), new[b][t], old[t], mean_log_ratio)
            if case["kl_place"] == "loss" and case["kl_beta"]:
                term = term + estimate(case["kl_estimator"], new[b][t] * -1 + D(batch["logp_ref"][b][t])) * D(case["kl_beta"])
            if "entropy_coefficient" in case:
                term = term + entropy[b][t] * -D(case["entropy_coefficient"])
            share = {"token_mean": D(1) / all_tokens, "seq_mean": D(1) / (rows * len(kept[b])),
                     "fixed_length": D(1) / (rows * case["fixed_length"])}[case["agg"]]  # fmt: skip
            loss = loss + term * share
            size += abs(term.number * share)
    loss.backward()
    gradient = [[float(x.slope) for x in row] for row in new]
    listed = [[float(a) for a in own] if "turns" in batch else float(own[0]) for own in of_row]
    result = {"loss": float(loss.number), "size": float(size), "advantages": listed, "grad": gradient}
    if "entropy_coefficient" in case:
        result["grad_entropy"] = [[float(x.slope) for x in row] for row in entropy]
    return result


def make_batch(kind: str, seed: int):
    """Groups of 1, 2 and 3 and one of equal rewards; a completion without a trained token; lengths of 0 to 4."""
    draw = random.Random(seed)
    sizes = {"a": 3, "b": 1, "c": 2, "d": 2}
    ids = [group for group, size in sizes.items() for _ in range(size)]
    lengths = [4, 2, 3, 3, 4, 1, 0, 2]
    batch = {"group_ids": ids, "mask": [[int(t < n) for t in range(4)] for n in lengths], "rewards": []}
    batch["mask"][4][1] = 0  # a hole
    for group in ids:
        equal = kind == "equal" or group == "d"
        batch["rewards"].append(0.5 if equal else draw.choice([0.0, 0.05, 0.3, 1.0]))
    if kind != "equal":
        batch["rewards"][0], batch["rewards"][4] = 1.0, 0.0
        batch["rewards"][1], batch["rewards"][5] = 0.05, 1.0

    return batch | log_probs(draw, kind, len(ids), 4)


def log_probs(draw, kind, rows, columns):
    def off(scale):
        if kind == "extreme" and draw.random() < 0.5:
            return draw.choice([-50.0, 50.0])
        return draw.gauss(0, scale)

    old = [[round(draw.gauss(-2, 1), 3) for _ in range(columns)] for _ in range(rows)]
    shifted = {"logp_new": 0.4, "logp_behav": 0.5, "logp_ref": 0.3}
    values = {"logp_old": old}
    for key, scale in shifted.items():
        values[key] = [[round(x + off(scale), 3) for x in row] for row in old]
    values["gamma"] = [[draw.choice([1.0, 1.5]) for _ in range(columns)] for _ in range(rows)]
    return values


def make_conversations(seed: int):
    """Groups of 3 (one, two and three turns), of 1, of 2 with equal rewards, of 2 with equal sums of other turns, and of 2 without
    any conversation. A turn has one or two tokens, with one of the environment's behind it."""
    draw = random.Random(seed)
    rewards = {"a": [[0.0, 0.25, 1.0], [0.5], [-0.25, 0.0]], "b": [[0.25, 1.0]], "c": [[0.25, 0.5], [0.25, 0.5]],
               "d": [[0.0, 1.0], [1.0, 0.0]], "e": [[1.0], [0.0]]}  # fmt: skip
    batch = {"group_ids": [], "turn_rewards": [], "rewards": [], "mask": [], "turns": []}
    for group, rows in rewards.items():
        for row in rows:
            mask, turns = [], []
            for k in range(len(row)):
                tokens = draw.choice([1, 2])
                mask += [1] * tokens + [0]
                turns += [k] * (tokens + 1)
            batch["group_ids"].append(group)
            batch["turn_rewards"].append(row)
            batch["rewards"].append(sum(row))
            batch["mask"].append((mask + [0] * 9)[:9])
            batch["turns"].append((turns + [-1] * 9)[:9])
    batch["entropy"] = [[round(draw.uniform(0, 3), 3) for _ in range(9)] for _ in batch["rewards"]]
    return batch | log_probs(draw, "turns", len(batch["rewards"]), 9)


def make_case(draw, estimator, loss, correction, batch):
    # A reward less e^50 has no digits left for what it is compared by.
    beta, kind, place = draw.choice([kl for kl in KLS if batch != "extreme" or kl[1:] != ("k3", "reward")])
    case = {"batch": batch, "estimator": estimator, "loss": loss, "agg": draw.choice(["token_mean", "seq_mean", "fixed_length"]),
            "fixed_length": 6, "eps_low": 0.2, "eps_high": 0.28, "sign": draw.choice(["none", "v1", "v2"]), "kl_beta": beta,
            "kl_estimator": kind, "kl_place": place, "tis_cap": None}  # fmt: skip
    if correction is not None:
        case |= {"tis_level": correction[0], "tis_rule": correction[1], "tis_cap": 1.5}
        case |= {"tis_floor": 0.5} if correction[1] == "mask" else {}
    if loss != "cispo" and draw.random() < 0.5:
        case["clip_dual"] = 3.0
    if draw.random() < 0.3:
        case["truncated"] = [int(draw.random() < 0.3) for _ in range(10 if batch == "turns" else 8)]
    if draw.random() < 0.4:
        case |= {"overlong_buffer": 2, "overlong_max": draw.choice([3, 4]), "overlong_penalty": 0.5}
    return case


def main():
    batches = {kind: make_batch(kind, seed) for seed, kind in enumerate(["ordinary", "extreme", "equal"])}
    draw = random.Random(7)
    cases = []
    for i, (estimator, loss, correction) in enumerate(itertools.product(ESTIMATORS, LOSSES, CORRECTIONS)):
        for batch in ["ordinary", "extreme"] + (["equal"] if i % 6 == 0 else []):
            case = make_case(draw, estimator, loss, correction, batch)
            cases.append(case | {"expected": evaluate(case, batches[batch])})
    batches["turns"] = make_conversations(seed=3)
    draw = random.Random(11)
    for estimator, loss, correction in itertools.product(ESTIMATORS, LOSSES, CORRECTIONS):
        case = make_case(draw, estimator, loss, correction, "turns")
        if draw.random() < 0.5:
            case["entropy_coefficient"] = 0.125
        cases.append(case | {"expected": evaluate(case, batches["turns"])})
    OUT.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    OUT.write_text('{"batches":' + json.dumps(batches, separators=(",", ":")) + ',\n"cases":[\n' + lines + "\n]}\n")
    print(f"{OUT}: {len(cases)} cases, {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
