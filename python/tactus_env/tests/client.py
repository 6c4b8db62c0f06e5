"""Calls a server as Tactus does."""

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
