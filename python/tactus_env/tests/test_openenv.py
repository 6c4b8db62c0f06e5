"""An OpenEnv environment made with its package, behind its own HTTPEnvServer, unchanged, over gRPC."""

import contextlib
import random
import socket
import threading
import time
import unittest

import grpc

from tactus_env import Server
from tactus_env import environment_service_pb2 as pb

from .client import Client

try:
    import fastapi
    import uvicorn
    from openenv.core.env_server.http_server import HTTPEnvServer
    from openenv.core.env_server.interfaces import Environment
    from openenv.core.env_server.types import Action, Observation, State

    from tactus_env.openenv import OpenEnv
except ImportError as error:
    raise unittest.SkipTest(f"openenv is not installed: {error}") from None

ANY = "127.0.0.1:0"
WAIT_S = 30


class Guess(Action):
    guess: str


class Hint(Observation):
    message: str


class Number(Environment):
    """Finds a number, drawn from the seed, or from nowhere without one."""

    SUPPORTS_CONCURRENT_SESSIONS = True
    open = 0

    def __init__(self):
        super().__init__()
        type(self).open += 1

    def reset(self, seed=None, episode_id=None, **kwargs):
        self.draw = random.Random(seed)
        self.number, self.tries = self.draw.randint(1, 9), 0
        return Hint(message=f"Room {self.draw.randint(0, 10**9)}: guess.")

    def step(self, action, timeout_s=None, **kwargs):
        if action.guess == "fail":
            raise RuntimeError("the room is on fire")
        self.tries += 1
        if action.guess == str(self.number):
            return Hint(message="found", done=True, reward=1.0)
        return Hint(message="higher" if action.guess < str(self.number) else "lower", reward=-0.125)

    @property
    def state(self):
        return State(step_count=self.tries)

    def close(self):
        type(self).open -= 1


@contextlib.contextmanager
def served(sessions=8):
    app = fastapi.FastAPI()
    HTTPEnvServer(env=Number, action_cls=Guess, observation_cls=Hint, max_concurrent_envs=sessions).register_routes(app)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        give_up = time.monotonic() + WAIT_S
        while not server.started and time.monotonic() < give_up:
            time.sleep(0.01)  # nobody listens yet
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(WAIT_S)


class Episodes(unittest.TestCase):
    def setUp(self):
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        self.url = stack.enter_context(served())
        self.stack = stack

    def client(self, **options):
        openenv = OpenEnv(self.url, action="guess", text="message", **options)
        server = self.stack.enter_context(Server(openenv, ANY))
        return self.stack.enter_context(Client(server.address))

    def test_the_first_observations_are_the_prompts(self):
        client = self.client(train=[{"seed": n} for n in range(5)], test=[{"seed": 9}], system="Be brief.")
        prompts = client.prompts()
        self.assertEqual(len({p.prompt for p in prompts}), 5)
        self.assertTrue(all(p.prompt.startswith("Room ") and p.system == "Be brief." for p in prompts))
        self.assertEqual(len(client.prompts(pb.TEST)), 1)
        self.assertEqual(client.describe().kind, pb.CONVERSATION)

    def test_episodes_over_several_turns_side_by_side(self):
        client = self.client(train=[{"seed": n} for n in range(6)])
        episodes = [(n, client.episode(key=prompt.answer_key)) for n, prompt in enumerate(client.prompts())]
        for n, episode in episodes:
            number = random.Random(n).randint(1, 9)
            first = episode.turn("0")
            self.assertEqual((first.messages[0].role, first.messages[0].content, first.parts[0].value), ("user", "higher", -0.125))
            self.assertEqual(episode.turn("99").messages[0].content, "lower")
            last = episode.turn(str(number))
            self.assertEqual((last.done, last.parts[0].value, last.verdict), (True, 1.0, pb.FAIL))  # 1 - 2/8
            episode.end()
        other = client.episode(key=client.prompts()[0].answer_key)
        self.assertEqual(other.turn(str(random.Random(0).randint(1, 9))).verdict, pb.PASS)

    def test_sessions_are_closed_however_episodes_end(self):
        client = self.client(train=[{"seed": 1}])
        key = client.prompts()[0].answer_key
        for _ in range(20):  # of 8 that may be open
            episode = client.episode(key=key)
            episode.turn("0")
            episode.cancel()
            deadline = time.monotonic() + WAIT_S
            while Number.open > 0 and time.monotonic() < deadline:
                time.sleep(0.01)
            self.assertEqual(Number.open, 0)
        reply = client.episode(key=key).turn("0", last=pb.LIMIT_TURNS)
        self.assertEqual((reply.done, reply.parts[0].value, reply.verdict, reply.reason), (True, -0.125, pb.FAIL, "out of turns"))

    def test_what_goes_wrong_is_told(self):
        client = self.client(train=[{}])
        with self.assertLogs("tactus_env"):
            for key, text, sentence in ((client.prompts()[0].answer_key, "0", "expected the same every time"),
                                        (b"5", "0", "the answer key is 5"),
                                        (b'{"reset": {"seed": 1}}', "fail", "the room is on fire")):
                with self.subTest(sentence), self.assertRaises(grpc.RpcError) as raised:
                    client.episode(key=key).turn(text)
                self.assertEqual(raised.exception.code(), grpc.StatusCode.INTERNAL)
                self.assertIn(sentence, raised.exception.details())


if __name__ == "__main__":
    unittest.main()
