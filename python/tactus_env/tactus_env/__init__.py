"""Serves rewards, conversations if you like, and prompts, to Tactus.

    from tactus_env import serve

    def reward(prompt, completion, answer_key):
        return 1.0 if str(answer_key["answer"]) in completion else 0.0

    if __name__ == "__main__":
        serve(reward, "127.0.0.1:9000")

docs/ENVIRONMENTS.md of Tactus tells the rest.
"""

from .environment import Completion, Environment, Prompt, Score
from .pool import TimedPool
from .conversation import Conversation, Done, Message, Opening, Say, Turn
from .server import Server, Tls, serve

__all__ = ["Completion", "Conversation", "Done", "Environment", "Message", "Opening", "Prompt", "Say", "Score", "Server", "TimedPool",
           "Tls", "Turn", "serve"]
