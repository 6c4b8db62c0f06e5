"""Environments of the package verifiers as conversations.

    import verifiers
    serve(Verifiers(verifiers.load_environment("my-env")))

Such an environment calls a model by a Client. Here that is one whose model is the actor: a call waits for the model's next turn, and
what stands in its prompt behind the turn before is what the model reads. The actor keeps the ids that it sampled and
their log-probs; nothing is made tokens a second time. So an environment has to go on with the conversation as it is: one that
rewrites it, or asks for something else in between, is told so. verifiers' own judge models are called as ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import Any, Iterable

from verifiers.clients import Client
from verifiers.errors import OverlongPromptError
from verifiers.types import Response, ResponseMessage, ToolCall, Usage

from .conversation import Answer, Conversation, Done, Message, Opening, Say, Turn
from .environment import Prompt
from .tool_calls import tool_calls

MODEL = "tactus"
MAX_METRICS = 16


class Verifiers:
    """Makes episodes of `environment`, a verifiers.Environment, which is used by all of them at once. Prompts are its data set's and,
    held out, its evaluation set's, if it has one of its own."""

    def __init__(self, environment: Any, *, name: str = "", max_calls: int = 0):
        self._environment = environment
        self.name = name or getattr(environment, "env_id", None) or type(environment).__name__
        self.max_calls = max_calls
        environment.build_dataset()
        environment.build_eval_dataset()
        self._rows = {"train": environment.dataset, "test": environment.eval_dataset}

    def prompts(self, split: str) -> Iterable[Prompt] | None:
        if self._rows["train"] is None:
            return None
        return (self._prompt(split, number, row) for number, row in enumerate(self._rows[split] or ()))

    def __call__(self) -> Conversation:
        return _Rollout(self._environment, self._rows)

    def _prompt(self, split: str, number: int, row: dict) -> Prompt:
        messages = [(one["role"], text_of(one.get("content"))) for one in row["prompt"]]
        roles = [role for role, _ in messages]
        if roles not in (["user"], ["system", "user"]):
            raise ValueError(f"row {number} of {split} has the messages {roles}: expected one of the user's, after a system's perhaps")
        tools = [{"type": "function", "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters}}
                 for tool in getattr(self._environment, "tool_defs", None) or ()]
        return Prompt(messages[-1][1], {"split": split, "row": number}, system=messages[0][1] if len(messages) > 1 else "", tools=tools)


class _Actor(Client):
    """A model that is somewhere else: each call is held until its turn is given."""

    def __init__(self) -> None:
        super().__init__(None)
        self.calls: asyncio.Queue = asyncio.Queue(1)
        self._pending: asyncio.Future | None = None

    async def get_response(self, prompt: Any, model: str, sampling_args: Any, tools: Any = None, **kwargs: Any) -> Response:
        if self._pending is not None:
            raise RuntimeError("the environment calls the model while a call is under way: expected one turn after the other")
        self._pending = asyncio.get_running_loop().create_future()
        try:
            self.calls.put_nowait((list(prompt), bool(tools)))
            return await self._pending
        finally:
            self._pending = None

    def give(self, response: Response) -> None:
        self._pending.set_result(response)

    def refuse(self, error: Exception) -> None:
        self._pending.set_exception(error)

    async def close(self) -> None:
        pass

    # What a Client of a provider has to have, and get_response() above does not use.
    def setup_client(self, config: Any) -> None:
        return None

    async def to_native_tool(self, tool: Any) -> Any:
        return tool

    async def to_native_prompt(self, messages: Any) -> tuple[Any, dict]:
        return messages, {}

    async def get_native_response(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    async def raise_from_native_response(self, response: Any) -> None:
        pass

    async def from_native_response(self, response: Any) -> Any:
        return response


class _Rollout(Conversation):
    def __init__(self, environment: Any, rows: dict[str, Any]):
        self._environment, self._rows = environment, rows
        self._actor = _Actor()
        self._task: asyncio.Task | None = None
        self._read: list[Any] = []  # the conversation as the model has read it, its own turns included
        self._with_tools = False
        self._names: dict[str, str] = {}  # of the tools, by the ids of their calls

    async def reset(self, opening: Opening) -> None:
        key = opening.answer_key
        try:
            row = dict(self._rows[key["split"]][key["row"]])
        except (KeyError, TypeError, IndexError):
            raise ValueError(f'the answer key is {key!r}: expected {{"split": …, "row": …}}, of a prompt of this environment') from None
        self._opening = opening
        self._task = asyncio.create_task(self._environment.run_rollout(row, self._actor, MODEL, {}))
        self._read = await self._next_prompt()
        if self._read is None:
            raise ValueError("the rollout has ended before the model was called")
        first = [(one["role"], text_of(one.get("content"))) for one in row["prompt"]]
        if [(one.role, text_of(one.content)) for one in self._read] != first:
            raise ValueError("the environment changes the prompt before the first turn: expected the data set's own")

    async def step(self, turn: Turn) -> Answer:
        response = self._response(turn)
        self._actor.give(response)
        prompt = await self._next_prompt()
        if prompt is None:
            return self._done()
        added = prompt[len(self._read) + 1 :]
        own = prompt[len(self._read)] if len(prompt) > len(self._read) else None
        if not added or prompt[: len(self._read)] != self._read or own.role != "assistant" or text_of(own.content) != turn.text:
            raise ValueError("the environment rewrites the conversation: expected what the model has read, its turn, and then more")
        self._read = prompt
        return Say([Message(one.role, text_of(one.content), self._names.get(getattr(one, "tool_call_id", ""), ""),
                            getattr(one, "tool_call_id", "")) for one in added])

    async def stop(self, limit: str) -> Done:
        """The environment is told as by a provider whose context is full: it ends and judges what there is."""
        self._actor.refuse(OverlongPromptError(f"out of {limit}"))
        if await self._next_prompt() is not None:
            raise ValueError("the environment calls the model again after its context was full")
        return self._done()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(Exception, asyncio.CancelledError):
                await self._task

    async def _next_prompt(self) -> list[Any] | None:
        """Of the environment's next call of the model; None: it has ended."""
        call = asyncio.create_task(self._actor.calls.get())
        try:
            await asyncio.wait({call, self._task}, return_when=asyncio.FIRST_COMPLETED)
            if not call.done():
                return None
            prompt, self._with_tools = call.result()
            return prompt
        finally:
            call.cancel()

    def _response(self, turn: Turn) -> Response:
        calls = []
        if self._with_tools:
            with contextlib.suppress(ValueError):  # then it is text, as providers have it
                calls = [ToolCall(id=f"call-{turn.number}-{number}", name=one.name, arguments=one.json())
                         for number, one in enumerate(tool_calls(turn.text))]
        self._names.update((call.id, call.name) for call in calls)
        own = len(turn.token_ids)
        before = len(self._opening.prompt_token_ids) + self._opening.max_tokens - turn.tokens_left - own
        message = ResponseMessage(content=turn.text, tool_calls=calls or None, is_truncated=turn.truncated,
                                  finish_reason="length" if turn.truncated else "tool_calls" if calls else "stop")
        usage = Usage(prompt_tokens=before, reasoning_tokens=0, completion_tokens=own, total_tokens=before + own)
        return Response(id=f"turn-{turn.number}", created=0, model=MODEL, usage=usage, message=message)

    def _done(self) -> Done:
        output = self._task.result()
        if output.get("error"):
            raise RuntimeError(f"the rollout failed: {output['error'].get('error_chain_str') or output['error']}")
        if output.get("reward") is None:
            raise ValueError("the rollout has no reward")
        metrics = {key: float(value) for key, value in (output.get("metrics") or {}).items()
                   if isinstance(value, (int, float)) and math.isfinite(value)}
        return Done(float(output["reward"]), reason=output.get("stop_condition") or "", metrics=dict(list(metrics.items())[:MAX_METRICS]))


def text_of(content: Any) -> str:
    """A message's text; of parts, those of text."""
    if content is None or isinstance(content, str):
        return content or ""
    parts = [part if isinstance(part, dict) else dict(part) for part in content]
    if any(part.get("type") != "text" for part in parts):
        raise ValueError("a message has parts that are no text")
    return "".join(part["text"] for part in parts)
