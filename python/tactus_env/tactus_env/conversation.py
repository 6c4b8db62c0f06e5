"""What a user writes of several turns: a class with reset() and step(). No gRPC here."""

from __future__ import annotations

import dataclasses
import random
from typing import Any, Iterable, Mapping, Sequence, Union

from .environment import Prompt, Score, numbers_of


@dataclasses.dataclass(frozen=True)
class Opening:
    """How an episode begins: the model has read `prompt` and nothing else."""

    prompt: str  # with the model's template
    answer_key: Any
    prompt_token_ids: tuple[int, ...] = ()
    run_seed: int = 0  # these three say which episode of the run it is; answers to one prompt share the first two
    prompt_number: int = 0
    completion: int = 0
    max_turns: int = 0  # whichever limit is reached first ends the episode
    max_tokens: int = 0
    max_turn_tokens: int = 0

    def random(self) -> random.Random:
        """For whatever an episode draws, so that the same run draws it again."""
        return random.Random(f"{self.run_seed}/{self.prompt_number}/{self.completion}")


@dataclasses.dataclass(frozen=True)
class Turn:
    """What the model said. `text` is without the stop token, `token_ids` with it."""

    text: str
    number: int = 1  # from 1
    token_ids: tuple[int, ...] = ()
    truncated: bool = False  # cut off at a limit of tokens
    undecodable: bool = False  # an id is no token, so there is no text
    last: str = ""  # "turns" or "tokens": that limit is reached, and no turn follows
    tokens_left: int = 0  # of max_tokens


@dataclasses.dataclass(frozen=True)
class Message:
    """`role`: "user", "tool", or another that the model's template prints."""

    role: str
    content: str
    name: str = ""
    tool_call_id: str = ""


@dataclasses.dataclass(frozen=True)
class Say:
    """What the model reads next: messages, a text that becomes one of the user's, or, with `raw`, a text that is appended as it
    stands, without a template. `reward`: what the turn before was worth, a number or named parts; None: nothing is added."""

    messages: str | Message | Sequence[Message] = ()
    reward: float | Mapping[str, float] | None = None
    raw: str = ""

    def listed(self) -> list[Message]:
        """TypeError or ValueError says what is wrong."""
        messages = [Message("user", self.messages)] if isinstance(self.messages, str) else self.messages
        messages = [messages] if isinstance(messages, Message) else list(messages)
        for one in messages:
            if not isinstance(one, Message):
                raise TypeError(f"a message is {one!r}: expected a Message")
            if not one.role or one.role == "assistant":
                raise ValueError(f'a message has the role "{one.role}": expected "user", "tool" or another that is not the model\'s')
        if bool(messages) == bool(self.raw):
            raise ValueError("Say has " + ("messages and raw text" if messages else "nothing to say") + ": expected one of both")
        return messages


@dataclasses.dataclass(frozen=True)
class Done:
    """The end of an episode. `reward` is the last turn's; the episode's is the sum over its turns. `correct` is what pass@1
    counts; left out, an episode of 1 or more is correct. `metrics`: numbers for people."""

    reward: float | Mapping[str, float]
    correct: bool | None = None
    reason: str = ""
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @staticmethod
    def of(score: Score) -> Done:
        return Done(score.reward, score.correct, score.reason)


Answer = Union[str, Message, Sequence[Message], Say, Done]


class Conversation:
    """One episode: an object is made for each, and its methods are called one at a time. They may be `async def`: then they run on
    the server's own loop and must not block it. An exception ends the episode, of which then nothing is used."""

    name = ""
    max_calls = 0  # episodes that one actor may have open at once; 0 = as many as it has answers

    @classmethod
    def prompts(cls, split: str) -> Iterable[Prompt] | None:
        """As Environment.prompts."""
        return None

    def reset(self, opening: Opening) -> None:
        """The episode begins."""

    def step(self, turn: Turn) -> Answer:
        """What the model reads after its turn, or Done. After turn.last nothing is read: stop() is asked then unless it is Done."""
        raise NotImplementedError

    def stop(self, limit: str) -> Done:
        """The episode is over by a limit, "turns" or "tokens", before step() said so: what is it worth, beside what its turns
        have earned?"""
        return Done(0.0, reason=f"out of {limit}")

    def close(self) -> None:
        """The episode is over, however it ended; also when reset() failed. Called once, last."""


def as_answer(value: Any) -> Say | Done:
    if isinstance(value, (Say, Done)):
        return value
    if value is None:
        raise TypeError("step() returned None: expected a text, messages, Say or Done")
    return Say(value)


class Earned:
    """What an episode has earned so far."""

    def __init__(self) -> None:
        self.total = 0.0

    def add(self, reward: float | Mapping[str, float] | None) -> dict[str, float]:
        """The parts, added up."""
        parts = {} if reward is None else numbers_of(reward)
        self.total += sum(parts.values())
        return parts
