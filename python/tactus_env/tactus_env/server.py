"""An Environment or a Conversation as a gRPC server, for the actors and the learner of a run."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import itertools
import logging
import pathlib
import signal
import threading
import traceback
from typing import Any, AsyncIterator, Callable, Coroutine, Protocol

import grpc
import grpc.aio

from . import environment_service_pb2 as pb
from .conversation import Conversation
from .environment import Completion, Environment, RewardFunction, decode_key
from .episodes import BadCall, Episode, Late
from .wire import wire_prompt, wire_score

SERVICE = "tactus.environment.v1.EnvironmentService"
HEALTH = "grpc.health.v1.Health"
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"  # its HealthCheckResponse, encoded
MAX_QUESTION_BYTES = 1 << 30  # a large group of long answers; gRPC's own limit is 4 MiB
PROMPTS_AT_ONCE = 256
SHOWN = 300  # of an exception, in the log of those who ask

log = logging.getLogger("tactus_env")


@dataclasses.dataclass(frozen=True)
class Tls:
    """Mutual TLS. `installation` is what stands before the role in the certificates of the run, such as
    "spiffe://tactus": only its actors and learners are let in."""

    certificate: str  # paths of PEM files
    key: str
    authority: str
    installation: str = "spiffe://tactus"

    def credentials(self) -> grpc.ServerCredentials:
        read = lambda path: pathlib.Path(path).read_bytes()  # noqa: E731
        return grpc.ssl_server_credentials([(read(self.key), read(self.certificate))], read(self.authority), require_client_auth=True)

    def accepts(self, peer: dict[str, Any]) -> bool:
        allowed = {f"{self.installation}/{role}".encode() for role in ("actor", "learner")}
        return not allowed.isdisjoint(peer.get("peer_uri", ()))


class Conversations(Protocol):
    """What makes the objects of episodes: a class derived from Conversation, or whatever can be called as one."""

    name: str
    max_calls: int

    def prompts(self, split: str) -> Any:
        """As Environment.prompts."""

    def __call__(self) -> Conversation: ...


class Server:
    """Serves from start() to stop(). `environment`: an Environment, a reward function, or a class derived from Conversation.

    At most `threads` plain functions of the user's run at once, of all calls together; more wait. `max_episodes` may be open at
    once, of all actors together; more are refused. Thread-safe.
    """

    def __init__(self, environment: Environment | Conversations | Callable[..., Any], address: str = "127.0.0.1:9000", *,
                 threads: int = 16, max_episodes: int = 4096, tls: Tls | None = None):
        self.environment = environment if is_served(environment) else RewardFunction(environment)
        self._converses = not isinstance(self.environment, Environment)
        self._tls, self._max_episodes, self._episodes = tls, max_episodes, 0
        self._workers = concurrent.futures.ThreadPoolExecutor(threads, "tactus_env")
        self._closing: set[asyncio.Task] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tactus_env", daemon=True)
        self._thread.start()
        try:
            port = self._on_loop(self._bind(address))
            if port == 0:
                raise RuntimeError
        except RuntimeError:
            self._end_loop()
            raise OSError(f"cannot listen at {address}: is the port taken?") from None
        self.address = f"{address.rpartition(':')[0]}:{port}"

    def start(self) -> Server:
        self._on_loop(self._server.start())
        return self

    def stop(self, grace_s: float = 5.0) -> None:
        """Takes no more calls, waits for those under way, and for their episodes to be closed. Once."""
        self._on_loop(self._stop(grace_s))
        self._end_loop()

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def _bind(self, address: str) -> int:
        options = [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", MAX_QUESTION_BYTES),
                   ("grpc.http2.min_ping_interval_without_data_ms", 10_000), ("grpc.keepalive_permit_without_calls", 1)]
        self._server, self._stopping = grpc.aio.server(options=options), asyncio.Event()
        one = grpc.unary_unary_rpc_method_handler
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {
            "Describe": one(self._describe, pb.DescribeRequest.FromString, pb.Description.SerializeToString),
            "Prompts": grpc.unary_stream_rpc_method_handler(
                self._prompts, pb.PromptsRequest.FromString, pb.EnvironmentPrompt.SerializeToString),
            "Score": one(self._score, pb.ScoreRequest.FromString, pb.ScoreReply.SerializeToString),
            "Converse": grpc.stream_stream_rpc_method_handler(
                self._converse, pb.ConverseRequest.FromString, pb.ConverseReply.SerializeToString),
        }), grpc.method_handlers_generic_handler(HEALTH, {
            "Check": one(self._check_health), "Watch": grpc.unary_stream_rpc_method_handler(self._watch_health),
        })))
        if self._tls is None:
            return self._server.add_insecure_port(address)
        return self._server.add_secure_port(address, self._tls.credentials())

    async def _stop(self, grace_s: float) -> None:
        self._stopping.set()
        await self._server.stop(grace_s)
        if self._closing:
            await asyncio.wait(self._closing, timeout=grace_s)

    def _on_loop(self, work: Coroutine) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._workers.shutdown(wait=False)

    async def _check_peer(self, context: grpc.aio.ServicerContext) -> None:
        if self._tls is not None and not self._tls.accepts(context.auth_context()):
            await context.abort(grpc.StatusCode.PERMISSION_DENIED,
                                f"expected a certificate of {self._tls.installation}/actor or /learner")

    async def _work(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.wrap_future(self._workers.submit(function, *arguments))

    async def _check_health(self, _: bytes, context: grpc.aio.ServicerContext) -> bytes:
        return NOT_SERVING if self._stopping.is_set() else SERVING

    async def _watch_health(self, _: bytes, context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        """Until the server stops, which then need not wait for this call."""
        yield SERVING
        await self._stopping.wait()
        yield NOT_SERVING

    async def _describe(self, _: pb.DescribeRequest, context: grpc.aio.ServicerContext) -> pb.Description:
        await self._check_peer(context)
        async with failures_told(context):
            has_prompts = await self._work(lambda: self.environment.prompts("train") is not None)
        return pb.Description(name=self.environment.name or getattr(self.environment, "__name__", ""),
                              kind=pb.CONVERSATION if self._converses else pb.SINGLE_TURN, has_prompts=has_prompts,
                              max_calls=self.environment.max_calls)

    async def _prompts(self, request: pb.PromptsRequest, context: grpc.aio.ServicerContext) -> AsyncIterator[pb.EnvironmentPrompt]:
        await self._check_peer(context)
        async with failures_told(context):
            prompts = await self._work(lambda: enumerate(self.environment.prompts("test" if request.split == pb.TEST else "train") or ()))
        take = lambda: [wire_prompt(one, number) for number, one in itertools.islice(prompts, PROMPTS_AT_ONCE)]  # noqa: E731
        while True:
            async with failures_told(context):
                some = await self._work(take)
            if not some:
                return
            for one in some:
                yield one

    async def _score(self, request: pb.ScoreRequest, context: grpc.aio.ServicerContext) -> pb.ScoreReply:
        await self._check_peer(context)
        if self._converses:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "this environment is a conversation: expected Converse")
        async with failures_told(context):
            return await self._work(score, self.environment, request)

    async def _converse(self, _: Any, context: grpc.aio.ServicerContext) -> None:
        await self._check_peer(context)
        if not self._converses:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "this environment scores answers and does not converse: expected Score")
        if self._episodes >= self._max_episodes:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{self._max_episodes} episodes are open, which is max_episodes")
        episode = Episode(self.environment, self._workers)
        self._episodes += 1
        try:
            async with failures_told(context):
                while not episode.over and (request := await context.read()) is not grpc.aio.EOF:
                    if (reply := await episode.answer(request)) is not None:
                        await context.write(reply)
        finally:
            closing = self._loop.create_task(self._close(episode))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def _close(self, episode: Episode) -> None:
        try:
            await episode.close()
        finally:
            self._episodes -= 1


@contextlib.asynccontextmanager
async def failures_told(context: grpc.aio.ServicerContext) -> AsyncIterator[None]:
    """What is raised within becomes the call's error, with the line it came from."""
    try:
        yield
        return
    except BadCall as error:
        code, message = grpc.StatusCode.INVALID_ARGUMENT, str(error)
    except Late as error:
        code, message = grpc.StatusCode.DEADLINE_EXCEEDED, str(error)
    except Exception as error:  # noqa: BLE001
        log.error("a call failed:\n%s", traceback.format_exc())
        at = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{pathlib.PurePath(at.filename).name}:{at.lineno}"
        code, message = grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error} ({where})"
    await context.abort(code, message if len(message) <= SHOWN else message[: SHOWN - 1] + "…")


def is_served(environment: Any) -> bool:
    """Whether it is more than a reward function."""
    return isinstance(environment, Environment) or (callable(environment) and hasattr(environment, "prompts"))


def score(environment: Environment, request: pb.ScoreRequest) -> pb.ScoreReply:
    completions = [Completion(c.text, tuple(c.token_ids), c.truncated, c.undecodable) for c in request.completions]
    scores = list(environment.score(request.prompt, completions, decode_key(request.answer_key)))
    if len(scores) != len(completions):
        raise ValueError(f"{len(scores)} scores of {len(completions)} completions: expected one for each")
    return pb.ScoreReply(scores=[wire_score(one) for one in scores])


def serve(environment: Environment | Conversations | Callable[..., Any], address: str = "127.0.0.1:9000", **options: Any) -> None:
    """Serves until SIGTERM or Ctrl-C, then finishes what is under way. `options`: those of Server."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    server = Server(environment, address, **options)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    server.start()
    log.info("serving %s at %s", server.environment.name or "rewards", server.address)
    ended.wait()
    server.stop()
