import asyncio
import collections
import threading
import time
import unittest

import grpc

from tactus_env import Conversation, Done, Message, Opening, Prompt, Say, Server
from tactus_env import environment_service_pb2 as pb

from .client import Client

ANY = "127.0.0.1:0"
WAIT_S = 30


class Guess(Conversation):
    """The number of the key, in a few tries."""

    name = "guess"
    max_calls = 7

    @classmethod
    def prompts(cls, split):
        tools = [{"type": "function", "function": {"name": "f"}}]
        return [Prompt(f"Guess, {split}.", answer_key={"number": 5}, tools=tools)]

    def reset(self, opening):
        self.number = opening.answer_key["number"]

    def step(self, turn):
        guess = int(turn.text)
        if guess == self.number:
            return Done({"right": 1.0}, reason="found", metrics={"tries": turn.number})
        return Say("higher" if guess < self.number else "lower", reward={"closer": 0.25})

    def stop(self, limit):
        return Done({"right": 0.0, "closer": 0.5}, reason=limit)


class Watched(Conversation):
    """Does what the turn's text says, and tells of it."""

    calls = collections.Counter()
    inside = most = 0
    gate = threading.Event()
    lock = threading.Lock()

    @classmethod
    def begin(cls):
        cls.calls, cls.inside, cls.most, cls.gate = collections.Counter(), 0, 0, threading.Event()

    def reset(self, opening):
        self.stepping = False
        type(self).calls["reset"] += 1
        if opening.answer_key == "bad":
            raise KeyError("no such task")

    def step(self, turn):
        answers = {"none": None, "empty": Say(), "assistant": Message("assistant", "x"), "other": ["x"], "both": Say("x", raw="y"),
                   "nan": Say("x", reward=float("nan")),
                   "no parts": Done({}), "text": Done("much"), "bad metric": Done(1.0, metrics={"m": "x"}),
                   "large": "x" * (2 << 20), "many": [Message("tool", "1")] * 65, "nan metric": Done(1.0, metrics={"m": float("inf")})}
        if turn.text in answers:
            return answers[turn.text]
        if turn.text == "raise":
            raise ValueError("odd")
        if turn.text in ("wait", "late"):
            with self.lock:
                type(self).inside += 1
                type(self).most = max(self.most, self.inside)
            self.stepping = True
            self.gate.wait(WAIT_S)
            self.stepping = False
            with self.lock:
                type(self).inside -= 1
        if turn.text == "timeout of its own":
            raise TimeoutError("a tool's")
        return "on" if turn.text != "end" else Done(1.0)

    def close(self):
        type(self).calls["close"] += 1
        type(self).calls["closed inside"] += self.stepping


def eventually(condition):
    end = time.monotonic() + WAIT_S
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


class Turns(unittest.TestCase):
    def setUp(self):
        server = Server(Guess, ANY).start()
        self.addCleanup(server.stop)
        self.client = Client(server.address)
        self.addCleanup(self.client.__exit__)

    def test_describe_and_prompts(self):
        said = self.client.describe()
        self.assertEqual((said.name, said.kind, said.has_prompts, said.max_calls), ("guess", pb.CONVERSATION, True, 7))
        (prompt,) = self.client.prompts(pb.TEST)
        self.assertEqual((prompt.prompt, prompt.answer_key), ("Guess, test.", b'{"number": 5}'))
        self.assertEqual(prompt.tools, '[{"type": "function", "function": {"name": "f"}}]')

    def test_an_episode_of_three_turns(self):
        episode = self.client.episode(key=b'{"number": 5}')
        first = episode.turn("3")
        self.assertEqual([(m.role, m.content) for m in first.messages], [("user", "higher")])
        self.assertEqual([(p.name, p.value) for p in first.parts], [("closer", 0.25)])
        self.assertFalse(first.done or first.verdict or first.text)
        self.assertEqual(episode.turn("9").messages[0].content, "lower")
        last = episode.turn("5")
        self.assertTrue(last.done)
        self.assertEqual([(p.name, p.value) for p in last.parts], [("right", 1.0)])
        self.assertEqual((last.verdict, last.reason, dict(last.metrics)), (pb.PASS, "found", {"tries": 3}))
        self.assertEqual(episode.end(), [])
        self.assertEqual(episode.replies.code(), grpc.StatusCode.OK)

    def test_episodes_do_not_know_each_other(self):
        episodes = [self.client.episode(key=b'{"number": %d}' % n) for n in range(20)]
        replies = [episode.turn("10") for episode in episodes]
        self.assertEqual(["done" if r.done else r.messages[0].content for r in replies], ["lower"] * 10 + ["done"] + ["higher"] * 9)

    def test_the_last_turn_earns_what_it_did_and_what_the_end_is_worth(self):
        for number, last, reason in ((pb.LIMIT_TURNS, 50, "turns"), (pb.LIMIT_TOKENS, 0, "tokens")):
            episode = self.client.episode(key=b'{"number": 5}')
            reply = episode.turn("3", last=number, tokens_left=last)
            self.assertTrue(reply.done)
            self.assertEqual({p.name: p.value for p in reply.parts}, {"closer": 0.75, "right": 0.0})
            self.assertEqual((reply.verdict, reply.reason), (pb.FAIL, reason))

    def test_a_stop_is_answered_by_the_end(self):
        episode = self.client.episode(key=b'{"number": 5}')
        episode.turn("3")
        reply = episode.ask(stop=pb.Stop(limit=pb.LIMIT_TOKENS))
        self.assertTrue(reply.done)
        self.assertEqual((reply.reason, {p.name: p.value for p in reply.parts}), ("tokens", {"right": 0.0, "closer": 0.5}))

    def test_an_episode_is_correct_by_all_its_turns(self):
        episode = self.client.episode(key=b'{"number": 5}')
        for text in "6789":
            episode.turn(text)
        self.assertEqual(episode.ask(stop=pb.Stop(limit=pb.LIMIT_TOKENS)).verdict, pb.PASS)  # 4 × 0.25 + 0.5

    def test_score_is_another_kind_of_server(self):
        with self.assertRaises(grpc.RpcError) as raised:
            self.client.score(b"", "x")
        self.assertEqual(raised.exception.code(), grpc.StatusCode.UNIMPLEMENTED)
        with Server(lambda *_: 1, ANY) as server, Client(server.address) as client:
            with self.assertRaises(grpc.RpcError) as raised:
                client.episode().turn("x")
            self.assertEqual(raised.exception.code(), grpc.StatusCode.UNIMPLEMENTED)
            self.assertIn("expected Score", raised.exception.details())


class Faults(unittest.TestCase):
    def setUp(self):
        Watched.begin()
        self.addCleanup(Watched.gate.set)

    def failure(self, client, text, key=b"", **opening):
        episode = client.episode(key=key, **opening)
        with self.assertRaises(grpc.RpcError) as raised:
            episode.turn(text)
        return raised.exception.code(), raised.exception.details()

    def test_what_is_wrong_is_said_and_the_episode_closed(self):
        cases = {"raise": "ValueError: odd (test_conversation.py:",
                 "none": "step() returned None: expected a text",
                 "empty": "Say has nothing to say", "assistant": 'the role "assistant": expected "user", "tool"',
                 "other": "a message is 'x': expected a Message", "both": "messages and raw text: expected one of both",
                 "nan": "reward is nan: expected a finite number", "no parts": "the reward has no parts",
                 "text": "reward is 'much': expected a number", "bad metric": "m is 'x': expected a number",
                 "large": "1 messages and 20971", "many": "65 messages and", "nan metric": "m is inf: expected a finite number",
                 "timeout of its own": "TimeoutError: a tool's"}
        with self.assertLogs("tactus_env"), Server(Watched, ANY) as server, Client(server.address) as client:
            for number, (text, sentence) in enumerate(cases.items(), 1):
                with self.subTest(text):
                    code, said = self.failure(client, text)
                    self.assertEqual(code, grpc.StatusCode.INTERNAL)
                    self.assertIn(sentence, said)
                    self.assertTrue(eventually(lambda n=number: Watched.calls["close"] == n), Watched.calls)
            self.assertIn("no such task", self.failure(client, "on", key=b'"bad"')[1])
            self.assertTrue(eventually(lambda: Watched.calls["close"] == len(cases) + 1))

    def test_a_client_that_breaks_the_protocol_is_told(self):
        with Server(Watched, ANY) as server, Client(server.address) as client:
            def told(*requests):
                episode = client.episode()
                with self.assertRaises(grpc.RpcError) as raised:
                    for request in requests:
                        episode.ask(**request)
                self.assertEqual(raised.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
                return raised.exception.details()

            self.assertIn("turn 2: expected turn 1", told({"turn": pb.Turn(number=2)}))
            self.assertIn("a second opening", told({"opening": pb.Opening()}))
            self.assertIn("a request is empty", told({}))

    def test_a_late_step_fails_alone_and_is_closed_when_it_returns(self):
        with Server(Watched, ANY, threads=2) as server, Client(server.address) as client:
            code, said = self.failure(client, "late", reply_timeout_s=0.2)
            self.assertEqual((code, said), (grpc.StatusCode.DEADLINE_EXCEEDED, "step() has not returned within 0.2 s"))
            other = client.episode()
            self.assertEqual(other.turn("x").messages[0].content, "on")
            self.assertEqual((Watched.inside, Watched.calls["close"]), (1, 0))
            Watched.gate.set()
            self.assertTrue(eventually(lambda: Watched.calls["close"] == 1))
            self.assertEqual(Watched.calls["closed inside"], 0)

    def test_cancelled_and_abandoned_episodes_are_closed_once(self):
        with Server(Watched, ANY) as server, Client(server.address) as client:
            cancelled, ended, inside = client.episode(), client.episode(), client.episode()
            for episode in (cancelled, ended):
                episode.turn("x")
            inside.send(turn=pb.Turn(number=1, text="wait"))
            self.assertTrue(eventually(lambda: Watched.inside == 1))
            cancelled.cancel()
            self.assertEqual(ended.end(), [])
            self.assertTrue(eventually(lambda: Watched.calls["close"] == 2))
            inside.cancel()
            time.sleep(0.2)
            self.assertEqual(Watched.calls["close"], 2)  # not beside its step
            Watched.gate.set()
            self.assertTrue(eventually(lambda: Watched.calls["close"] == 3))
            with Client(server.address) as other:
                other.episode().turn("x")
            self.assertTrue(eventually(lambda: Watched.calls["close"] == 4))
            self.assertEqual((Watched.calls["reset"], Watched.calls["closed inside"]), (4, 0))

    def test_many_episodes_are_open_and_few_steps_run(self):
        with Server(Watched, ANY, threads=3, max_episodes=100) as server, Client(server.address) as client:
            episodes = [client.episode() for _ in range(100)]
            for episode in episodes:
                episode.send(turn=pb.Turn(number=1, text="wait"))
            self.assertTrue(eventually(lambda: Watched.inside == 3))
            code, said = self.failure(client, "x")
            self.assertEqual((code, said), (grpc.StatusCode.RESOURCE_EXHAUSTED, "100 episodes are open, which is max_episodes"))
            Watched.gate.set()
            self.assertEqual([next(episode.replies).messages[0].content for episode in episodes], ["on"] * 100)
            self.assertEqual(Watched.most, 3)
            for episode in episodes:
                episode.cancel()
            self.assertTrue(eventually(lambda: Watched.calls["close"] == 100))
            client.episode().turn("end")

    def test_a_stopped_server_closes_its_episodes(self):
        server = Server(Watched, ANY).start()
        with Client(server.address) as client:
            word, watch = client.health()
            self.assertEqual(word, b"\x08\x01")
            client.episode().turn("x")
            server.stop(grace_s=0.5)
            self.assertEqual(next(watch), b"\x08\x02")
        self.assertEqual(Watched.calls["close"], 1)


class Echo(Conversation):
    async def reset(self, opening):
        self.opening = opening

    async def step(self, turn):
        await asyncio.sleep(3600 if turn.text == "hang" else 0)
        if turn.text == "raw":
            return Say(raw="<|sep|>", reward=1)
        if turn.text == "tools":
            return [Message("tool", "1", name="f", tool_call_id="a"), Message("tool", "2")]
        return Done(1.0, metrics={"draw": self.opening.random().random(), "prompt_number": self.opening.prompt_number})


class Async(unittest.TestCase):
    def test_methods_may_be_coroutines(self):
        with Server(Echo, ANY) as server, Client(server.address) as client:
            episode = client.episode(run_seed=7, prompt_number=3, completion=1)
            raw = episode.turn("raw")
            self.assertEqual((raw.text, len(raw.messages), raw.parts[0].value), ("<|sep|>", 0, 1.0))
            self.assertEqual([(m.role, m.content, m.name, m.tool_call_id) for m in episode.turn("tools").messages],
                             [("tool", "1", "f", "a"), ("tool", "2", "", "")])
            metrics = episode.turn("end").metrics
            self.assertEqual(metrics["prompt_number"], 3)
            self.assertEqual(metrics["draw"], Opening("", None, run_seed=7, prompt_number=3, completion=1).random().random())
            with self.assertRaises(grpc.RpcError) as raised:
                client.episode(reply_timeout_s=0.2).turn("hang")
            self.assertEqual(raised.exception.code(), grpc.StatusCode.DEADLINE_EXCEEDED)


if __name__ == "__main__":
    unittest.main()
