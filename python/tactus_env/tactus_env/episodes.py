"""The server's side of Converse: one Episode for each call, from its opening to its end."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import logging
from typing import Any, Callable

from . import environment_service_pb2 as pb
from .conversation import Conversation, Done, Earned, Opening, Say, Turn, as_answer
from .environment import decode_key, finite
from .wire import wire_parts, wire_reason, wire_verdict

log = logging.getLogger("tactus_env")

LIMITS = {pb.LIMIT_UNSPECIFIED: "", pb.LIMIT_TURNS: "turns", pb.LIMIT_TOKENS: "tokens"}
CLOSE_S = 60.0
MAX_REPLY_BYTES, MAX_MESSAGES = 2 << 20, 64  # of the actor


class BadCall(Exception):
    """The client breaks the protocol."""


class Late(Exception):
    """The user's code has not answered in time."""


class Episode:
    """Not thread-safe: all of it runs on the server's loop, and the conversation's plain methods in its workers."""

    def __init__(self, make: Callable[[], Conversation], workers: concurrent.futures.ThreadPoolExecutor):
        self._make, self._workers = make, workers
        self._conversation: Conversation | None = None
        self._working: concurrent.futures.Future | None = None  # in a worker, which nothing can interrupt
        self._timeout_s = 0.0
        self._turns = 0
        self._earned = Earned()
        self.over = False

    async def answer(self, request: pb.ConverseRequest) -> pb.ConverseReply | None:
        """None: there is no reply to it. BadCall, Late, and whatever the user's code raises."""
        kind = request.WhichOneof("kind")
        if kind == "opening":
            await self._open(request.opening)
            return None
        if self._conversation is None:
            raise BadCall(f"the first request is {kind or 'empty'}: expected an opening")
        if kind is None:
            raise BadCall("a request is empty: expected a turn or a stop")
        if kind == "turn":
            reply = await self._turn(request.turn)
        else:
            reply = self._last(await self._done(LIMITS.get(request.stop.limit) or "tokens"), {})
        if len(reply.messages) > MAX_MESSAGES or reply.ByteSize() > MAX_REPLY_BYTES:
            raise ValueError(f"the reply has {len(reply.messages)} messages and {reply.ByteSize()} bytes: expected at most "
                             f"{MAX_MESSAGES} and {MAX_REPLY_BYTES}")
        return reply

    async def close(self) -> None:
        """After what is under way, which may have been given up but goes on in its worker."""
        if self._working is not None and not self._working.done():
            await asyncio.wait([asyncio.wrap_future(self._working)])
        conversation, self._conversation = self._conversation, None
        if conversation is None:
            return
        try:
            await self._call("close", CLOSE_S, conversation.close)
        except Exception:
            log.exception("close() failed")

    async def _open(self, opening: pb.Opening) -> None:
        if self._conversation is not None:
            raise BadCall("a second opening: expected a turn or a stop")
        self._timeout_s = opening.reply_timeout_s
        self._conversation = self._make()
        await self._call("reset", self._timeout_s, self._conversation.reset, Opening(
            opening.prompt, decode_key(opening.answer_key), tuple(opening.prompt_token_ids), opening.run_seed, opening.prompt_number,
            opening.completion, opening.max_turns, opening.max_tokens, opening.max_turn_tokens))

    async def _turn(self, turn: pb.Turn) -> pb.ConverseReply:
        self._turns += 1
        if turn.number != self._turns:
            raise BadCall(f"turn {turn.number}: expected turn {self._turns}")
        limit = LIMITS.get(turn.last, "tokens")
        answer = as_answer(await self._call("step", self._timeout_s, self._conversation.step, Turn(
            turn.text, turn.number, tuple(turn.token_ids), turn.truncated, turn.undecodable, limit, turn.tokens_left)))
        if isinstance(answer, Say):
            messages = answer.listed()
            parts = self._earned.add(answer.reward)
            if limit:
                return self._last(await self._done(limit), parts)
            return pb.ConverseReply(
                messages=[pb.Message(role=m.role, content=m.content, name=m.name, tool_call_id=m.tool_call_id) for m in messages],
                text=answer.raw, parts=wire_parts(parts))
        return self._last(answer, {})

    async def _done(self, limit: str) -> Done:
        done = await self._call("stop", self._timeout_s, self._conversation.stop, limit)
        if not isinstance(done, Done):
            raise TypeError(f"stop() returned {done!r}: expected Done")
        return done

    def _last(self, done: Done, before: dict[str, float]) -> pb.ConverseReply:
        parts = dict(before)
        for name, value in self._earned.add(done.reward).items():
            parts[name] = parts.get(name, 0.0) + value
        self.over = True
        return pb.ConverseReply(done=True, parts=wire_parts(parts), verdict=wire_verdict(done.correct, self._earned.total),
                                reason=wire_reason(done.reason), metrics={name: finite(name, value) for name, value in done.metrics.items()})

    async def _call(self, name: str, timeout_s: float, method: Callable[..., Any], *arguments: Any) -> Any:
        if inspect.iscoroutinefunction(method):
            waiting: asyncio.Future = asyncio.ensure_future(method(*arguments))
        else:
            self._working = self._workers.submit(method, *arguments)
            waiting = asyncio.wrap_future(self._working)
        try:
            return await asyncio.wait_for(waiting, timeout_s or None)
        except asyncio.TimeoutError:
            if not waiting.cancelled():
                raise  # the user's own
            raise Late(f"{name}() has not returned within {timeout_s:g} s") from None
