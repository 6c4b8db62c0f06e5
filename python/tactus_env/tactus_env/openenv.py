"""OpenEnv environments as conversations: each episode is a session of an OpenEnv server, by openenv's own client.

    serve(OpenEnv("http://127.0.0.1:8000", action="guess", text="message", train=[{"seed": n} for n in range(1000)]))

The first observation is the prompt. A run asks for its prompts once, so reset() with the same arguments has to give the same
observation again, which is checked: an environment that draws without a seed cannot be trained on.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, Callable, Iterable, Mapping, Sequence

from openenv.core.generic_client import GenericEnvClient

from .conversation import Answer, Conversation, Done, Opening, Say, Turn
from .environment import Prompt


class OpenEnv:
    """Makes episodes. `url`: of the OpenEnv server. `action`: what a turn's text becomes, a function of it or the name of the action's
    field that takes it. `text`: what the model reads of an observation, a function of its dictionary or the name of a field; left
    out, all of it as JSON. `train`, `test`: the arguments of reset(), one for each prompt. `client`: an EnvClient of the
    environment's own that takes such actions and observations. `correct`: a function of the episode's last observation; left out,
    an episode of 1 or more is correct. An OpenEnv server has a limit of sessions: `max_calls` keeps an actor below its share."""

    def __init__(self, url: str, *, action: str | Callable[[str], Mapping[str, Any]], text: str | Callable[[dict], str] | None = None,
                 train: Iterable[Mapping[str, Any]] = (), test: Iterable[Mapping[str, Any]] = (), system: str = "", name: str = "openenv",
                 max_calls: int = 0, correct: Callable[[dict], bool] | None = None, client: Callable[..., Any] = GenericEnvClient):
        self.name, self.max_calls = name, max_calls
        self._url, self._client, self._action, self._text, self._correct = url, client, action, text, correct
        self._system = system
        self._resets: dict[str, Sequence[Mapping[str, Any]]] = {"train": list(train), "test": list(test)}

    def prompts(self, split: str) -> Iterable[Prompt] | None:
        if not self._resets["train"]:
            return None
        return asyncio.run(self._first_observations(self._resets[split]))

    def __call__(self) -> Conversation:
        return _Session(self)

    def connect(self) -> Any:
        return self._client(base_url=self._url)

    def action_of(self, text: str) -> Mapping[str, Any]:
        return self._action(text) if callable(self._action) else {self._action: text}

    def text_of(self, observation: dict) -> str:
        if callable(self._text):
            return self._text(observation)
        if self._text is None:
            return json.dumps(observation, ensure_ascii=False)
        if self._text not in observation:
            raise ValueError(f'the observation has no "{self._text}": expected one of {sorted(observation)}')
        return str(observation[self._text])

    def correct_of(self, observation: dict) -> bool | None:
        return None if self._correct is None else bool(self._correct(observation))

    async def _first_observations(self, resets: Sequence[Mapping[str, Any]]) -> list[Prompt]:
        prompts = []
        client = self.connect()
        try:
            await client.connect()
            for arguments in resets:
                text = self.text_of((await client.reset(**arguments)).observation)
                prompts.append(Prompt(text, answer_key={"reset": dict(arguments), "first": text}, system=self._system))
        finally:
            await client.close()
        return prompts


class _Session(Conversation):
    def __init__(self, openenv: OpenEnv):
        self._openenv = openenv
        self._client: Any = None

    async def reset(self, opening: Opening) -> None:
        key = opening.answer_key
        if not isinstance(key, dict) or not isinstance(key.get("reset"), dict):
            raise ValueError(f'the answer key is {key!r}: expected {{"reset": {{…}}}}, the arguments of reset()')
        self._client = self._openenv.connect()
        await self._client.connect()
        text = self._openenv.text_of((await self._client.reset(**key["reset"])).observation)
        if key.get("first", text) != text:
            raise ValueError(f"reset({key['reset']}) gives another observation than it gave as a prompt: expected the same every time")

    async def step(self, turn: Turn) -> Answer:
        result = await self._client.step(dict(self._openenv.action_of(turn.text)))
        if result.done:
            return Done(result.reward or 0.0, self._openenv.correct_of(result.observation))
        return Say(self._openenv.text_of(result.observation), reward=result.reward)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
