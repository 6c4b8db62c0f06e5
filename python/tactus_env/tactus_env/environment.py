"""What a user writes: a reward function, or an Environment for whoever wants more. No gRPC here."""

from __future__ import annotations

import dataclasses
import json
import math
import numbers
from typing import Any, Callable, Iterable, Mapping, Sequence


@dataclasses.dataclass(frozen=True)
class Completion:
    """An answer. `text` is without the stop token, `token_ids` with it."""

    text: str
    token_ids: tuple[int, ...] = ()
    truncated: bool = False  # cut off at rollout.max_completion_tokens
    undecodable: bool = False  # an id is no token, so there is no text


@dataclasses.dataclass(frozen=True)
class Score:
    """What an answer is worth: a number, or named parts that are added up.

    `correct` is what pass@1 counts; left out, a reward of 1 or more is correct. `reason` is a word for people.
    """

    reward: float | Mapping[str, float]
    correct: bool | None = None
    reason: str = ""

    def parts(self) -> dict[str, float]:
        """The named numbers. TypeError or ValueError names the one that is no finite number."""
        return numbers_of(self.reward)


def numbers_of(reward: float | Mapping[str, float]) -> dict[str, float]:
    parts = reward if isinstance(reward, Mapping) else {"reward": reward}
    if not parts:
        raise ValueError("the reward has no parts: expected at least one number")
    return {str(name): finite(name, value) for name, value in parts.items()}


def finite(name: object, value: object) -> float:
    if not isinstance(value, numbers.Real) and not hasattr(value, "__float__"):
        raise TypeError(f"{name} is {value!r}: expected a number")
    number = float(value)  # type: ignore[arg-type]
    if not math.isfinite(number):
        raise ValueError(f"{name} is {number}: expected a finite number")
    return number


@dataclasses.dataclass(frozen=True)
class Prompt:
    """A question to train on. `answer_key` is what the reward is given back: anything that JSON can hold."""

    prompt: str
    answer_key: Any = None
    id: str = ""  # unique in its set; "" = its number
    system: str = ""
    tools: Sequence[Mapping[str, Any]] = ()  # that the model may call, as its chat template wants them: {"type": "function", …}


class Environment:
    """Prompts and rewards. Methods are called from several threads at once."""

    name = ""
    max_calls = 0  # calls of score() that one actor may have open at once; 0 = as many as it has groups

    def prompts(self, split: str) -> Iterable[Prompt] | None:
        """All prompts of "train" or "test", in the same order every time; None: there are none here."""
        return None

    def score(self, prompt: str, completions: Sequence[Completion], answer_key: Any) -> Sequence[Score]:
        """One Score for each completion of a group, in their order. An exception: Tactus uses nothing of the group, and
        asks again."""
        raise NotImplementedError


class RewardFunction(Environment):
    """An Environment of a function reward(prompt, completion, answer_key) that returns a number or a Score."""

    def __init__(self, reward: Callable[..., Any], name: str = "", prompts: Iterable[Prompt] | None = None,
                 test_prompts: Iterable[Prompt] = (), max_calls: int = 0):
        self._reward = reward
        self.name = name or getattr(reward, "__name__", "")
        self.max_calls = max_calls
        self._prompts = None if prompts is None else {"train": list(prompts), "test": list(test_prompts)}

    def prompts(self, split: str) -> Iterable[Prompt] | None:
        return None if self._prompts is None else self._prompts[split]

    def score(self, prompt: str, completions: Sequence[Completion], answer_key: Any) -> list[Score]:
        return [as_score(self._reward(prompt, one.text, answer_key)) for one in completions]


def as_score(value: Any) -> Score:
    return value if isinstance(value, Score) else Score(value)


def encode_key(key: Any) -> bytes:
    return json.dumps(key, ensure_ascii=False, allow_nan=False).encode()


def decode_key(key: bytes) -> Any:
    """JSON where it is some, else the text, else the bytes."""
    try:
        text = key.decode()
    except UnicodeDecodeError:
        return key
    try:
        return json.loads(text)
    except ValueError:
        return text
