#!/usr/bin/env python3
"""A reward server that misbehaves as a file says: for scripts/check/environments.py.

    .venv/bin/python scripts/check/faulty_environment.py PORT FILE

FILE holds one word, read for every call: good, slow (a second), hang (never), error, nan, zero_scores, large (10 MB), other_type
(bytes that are no reply), missing (a part without a value). The reward is that of reward_of(), whatever was before.
"""

import pathlib
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "python/tactus_env"))

LARGE = 10 << 20
HANG_S = 3600


def reward_of(text: str) -> float:
    """Some number that every answer has, right in no task."""
    return (sum(text.encode()) % 11) / 8 - 0.5


def main() -> None:
    import grpc

    from tactus_env import environment_service_pb2 as pb
    from tactus_env.server import SERVICE

    port, mode = sys.argv[1], pathlib.Path(sys.argv[2])

    def score(request: bytes, context: grpc.ServicerContext) -> bytes:
        how = mode.read_text().strip()
        completions = pb.ScoreRequest.FromString(request).completions
        reply = pb.ScoreReply(scores=[
            pb.Score(parts=[pb.RewardPart(name="r", value=reward_of(c.text))], verdict=pb.FAIL, reason="checked") for c in completions])
        if how == "slow":
            time.sleep(1)
        elif how == "hang":
            while context.is_active() and time.sleep(0.1) is None:
                pass
        elif how == "error":
            context.abort(grpc.StatusCode.UNKNOWN, "KeyError: 'answer'")
        elif how == "nan":
            reply.scores[0].parts[0].value = float("nan")
        elif how == "zero_scores":
            del reply.scores[:]
        elif how == "large":
            reply.scores[0].reason = "x" * LARGE
        elif how == "other_type":
            return b"\xff\xff\xff no reply"
        elif how == "missing":
            reply.scores[0].parts[0].ClearField("value")
        return reply.SerializeToString()

    def describe(_: bytes, __: grpc.ServicerContext) -> bytes:
        return pb.Description(name="faulty", kind=pb.SINGLE_TURN).SerializeToString()

    from concurrent.futures import ThreadPoolExecutor

    server = grpc.server(ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0)])
    handlers = {"Score": grpc.unary_unary_rpc_method_handler(score), "Describe": grpc.unary_unary_rpc_method_handler(describe)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    print("serving", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
