"""Calls a server as Tactus does."""

import queue

import grpc

from tactus_env import environment_service_pb2 as pb
from tactus_env.server import SERVICE

TIMEOUT_S = 30


class Client:
    def __init__(self, address, credentials=None):
        options = [("grpc.ssl_target_name_override", "localhost")] if credentials else []
        self._channel = (grpc.secure_channel(address, credentials, options) if credentials else grpc.insecure_channel(address))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._channel.close()

    def describe(self):
        call = self._channel.unary_unary(f"/{SERVICE}/Describe", pb.DescribeRequest.SerializeToString, pb.Description.FromString)
        return call(pb.DescribeRequest(), timeout=TIMEOUT_S)

    def prompts(self, split=pb.TRAIN):
        call = self._channel.unary_stream(f"/{SERVICE}/Prompts", pb.PromptsRequest.SerializeToString, pb.EnvironmentPrompt.FromString)
        return list(call(pb.PromptsRequest(split=split), timeout=TIMEOUT_S))

    def score(self, key, *texts):
        call = self._channel.unary_unary(f"/{SERVICE}/Score", pb.ScoreRequest.SerializeToString, pb.ScoreReply.FromString)
        completions = [pb.Completion(text=text, token_ids=[1, 2]) for text in texts]
        return call(pb.ScoreRequest(prompt="Q", answer_key=key, completions=completions), timeout=TIMEOUT_S).scores

    def episode(self, **opening):
        return Episode(self._channel, **opening)

    def health(self):
        """The first word of the health service, and what ends its stream of them."""
        watch = self._channel.unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=TIMEOUT_S)
        return next(watch), watch


class Episode:
    """The actor's side of Converse."""

    def __init__(self, channel, key=b"", **opening):
        self._requests = queue.SimpleQueue()
        call = channel.stream_stream(f"/{SERVICE}/Converse", pb.ConverseRequest.SerializeToString, pb.ConverseReply.FromString)
        self.replies = call(iter(self._requests.get, None), timeout=TIMEOUT_S)
        self._turns = 0
        opening = {"max_turns": 8, "max_tokens": 100, "max_turn_tokens": 50, "reply_timeout_s": TIMEOUT_S} | opening
        self.send(opening=pb.Opening(prompt="Q", answer_key=key, **opening))

    def send(self, **request):
        self._requests.put(pb.ConverseRequest(**request))

    def turn(self, text, **more):
        """The reply to the model's next turn."""
        self._turns += 1
        return self.ask(turn=pb.Turn(**({"number": self._turns, "text": text, "token_ids": [1, 2], "tokens_left": 50} | more)))

    def ask(self, **request):
        self.send(**request)
        return next(self.replies)

    def end(self):
        """No more requests; the replies that still come."""
        self._requests.put(None)
        return list(self.replies)

    def cancel(self):
        self._requests.put(None)
        self.replies.cancel()
