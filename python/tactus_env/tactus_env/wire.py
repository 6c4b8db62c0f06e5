"""From what users return to messages, with a sentence for what cannot be one."""

from __future__ import annotations

import json
from typing import Mapping

from . import environment_service_pb2 as pb
from .environment import Prompt, Score, encode_key

MAX_REASON_BYTES = 256


def wire_parts(parts: Mapping[str, float]) -> list[pb.RewardPart]:
    return [pb.RewardPart(name=name, value=value) for name, value in parts.items()]


def wire_verdict(correct: bool | None, reward: float) -> int:
    """What the user says, else a reward of 1 or more is correct."""
    return pb.PASS if (reward >= 1 if correct is None else correct) else pb.FAIL


def wire_reason(reason: str) -> str:
    return reason.encode(errors="replace")[:MAX_REASON_BYTES].decode(errors="ignore")


def wire_score(one: Score) -> pb.Score:
    if not isinstance(one, Score):
        raise TypeError(f"score() returned {one!r}: expected a Score")
    parts = one.parts()
    return pb.Score(parts=wire_parts(parts), verdict=wire_verdict(one.correct, sum(parts.values())), reason=wire_reason(one.reason))


def wire_prompt(one: Prompt, number: int) -> pb.EnvironmentPrompt:
    if not isinstance(one, Prompt):
        raise TypeError(f"prompts() gave {one!r}: expected a Prompt")
    return pb.EnvironmentPrompt(id=one.id or str(number), system=one.system, prompt=one.prompt, answer_key=encode_key(one.answer_key),
                                tools=json.dumps(list(one.tools), ensure_ascii=False) if one.tools else "")
