"""An Environment as a gRPC server, for the actors and the learner of a run."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import logging
import pathlib
import signal
import threading
import traceback
from typing import Any, Callable, Iterator

import grpc

from . import environment_service_pb2 as pb
from .environment import Completion, Environment, Prompt, RewardFunction, Score, decode_key, encode_key

SERVICE = "tactus.environment.v1.EnvironmentService"
MAX_QUESTION_BYTES = 1 << 30  # a large group of long answers; gRPC's own limit is 4 MiB
MAX_REASON_BYTES = 256
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


class Server:
    """Serves from start() to stop(). `environment`: an Environment, or a reward function."""

    def __init__(self, environment: Environment | Callable[..., Any], address: str = "127.0.0.1:9000", *,
                 threads: int = 16, tls: Tls | None = None):
        self.environment = environment if isinstance(environment, Environment) else RewardFunction(environment)
        self._tls = tls
        options = [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", MAX_QUESTION_BYTES),
                   ("grpc.http2.min_ping_interval_without_data_ms", 10_000), ("grpc.keepalive_permit_without_calls", 1)]
        self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(threads), options=options)
        one = grpc.unary_unary_rpc_method_handler
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {
            "Describe": one(self._describe, pb.DescribeRequest.FromString, pb.Description.SerializeToString),
            "Prompts": grpc.unary_stream_rpc_method_handler(
                self._prompts, pb.PromptsRequest.FromString, pb.EnvironmentPrompt.SerializeToString),
            "Score": one(self._score, pb.ScoreRequest.FromString, pb.ScoreReply.SerializeToString),
        }),))
        if tls is None:
            port = self._server.add_insecure_port(address)
        else:
            port = self._server.add_secure_port(address, tls.credentials())
        if port == 0:
            raise OSError(f"cannot listen at {address}: is the port taken?")
        self.address = f"{address.rpartition(':')[0]}:{port}"

    def start(self) -> Server:
        self._server.start()
        return self

    def stop(self, grace_s: float = 5.0) -> None:
        """Takes no more calls and waits for those under way."""
        self._server.stop(grace_s).wait()

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _check_peer(self, context: grpc.ServicerContext) -> None:
        if self._tls is not None and not self._tls.accepts(context.auth_context()):
            context.abort(grpc.StatusCode.PERMISSION_DENIED,
                          f"expected a certificate of {self._tls.installation}/actor or /learner")

    def _describe(self, _: pb.DescribeRequest, context: grpc.ServicerContext) -> pb.Description:
        self._check_peer(context)
        has_prompts = self._guarded(context, lambda: self.environment.prompts("train") is not None)
        return pb.Description(name=self.environment.name, kind=pb.SINGLE_TURN, has_prompts=has_prompts,
                              max_calls=self.environment.max_calls)

    def _prompts(self, request: pb.PromptsRequest, context: grpc.ServicerContext) -> Iterator[pb.EnvironmentPrompt]:
        self._check_peer(context)
        split = "test" if request.split == pb.TEST else "train"
        prompts = iter(self._guarded(context, lambda: self.environment.prompts(split)) or ())
        number = 0
        end = object()
        while (one := self._guarded(context, lambda: next(prompts, end))) is not end:
            yield self._guarded(context, lambda: wire_prompt(one, number))
            number += 1

    def _score(self, request: pb.ScoreRequest, context: grpc.ServicerContext) -> pb.ScoreReply:
        self._check_peer(context)
        return self._guarded(context, lambda: score(self.environment, request))

    @staticmethod
    def _guarded(context: grpc.ServicerContext, work: Callable[[], Any]) -> Any:
        """The work's result; what it raises becomes the call's error, with the line it came from."""
        try:
            return work()
        except Exception as error:  # noqa: BLE001
            log.error("a call failed:\n%s", traceback.format_exc())
            at = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{pathlib.PurePath(at.filename).name}:{at.lineno}"
            message = f"{type(error).__name__}: {error} ({where})"
        context.abort(grpc.StatusCode.INTERNAL, message if len(message) <= SHOWN else message[: SHOWN - 1] + "…")


def score(environment: Environment, request: pb.ScoreRequest) -> pb.ScoreReply:
    completions = [Completion(c.text, tuple(c.token_ids), c.truncated, c.undecodable) for c in request.completions]
    scores = list(environment.score(request.prompt, completions, decode_key(request.answer_key)))
    if len(scores) != len(completions):
        raise ValueError(f"{len(scores)} scores of {len(completions)} completions: expected one for each")
    return pb.ScoreReply(scores=[wire_score(one) for one in scores])


def wire_score(one: Score) -> pb.Score:
    if not isinstance(one, Score):
        raise TypeError(f"score() returned {one!r}: expected a Score")
    parts = one.parts()
    correct = sum(parts.values()) >= 1 if one.correct is None else bool(one.correct)
    reason = one.reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
    return pb.Score(parts=[pb.RewardPart(name=name, value=value) for name, value in parts.items()],
                    verdict=pb.PASS if correct else pb.FAIL, reason=reason)


def wire_prompt(one: Prompt, number: int) -> pb.EnvironmentPrompt:
    if not isinstance(one, Prompt):
        raise TypeError(f"prompts() gave {one!r}: expected a Prompt")
    return pb.EnvironmentPrompt(id=one.id or str(number), system=one.system, prompt=one.prompt,
                                answer_key=encode_key(one.answer_key))


def serve(environment: Environment | Callable[..., Any], address: str = "127.0.0.1:9000", **options: Any) -> None:
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
