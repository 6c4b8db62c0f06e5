import math
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import grpc

from tactus_env import Completion, Environment, Prompt, Score, Server, Tls
from tactus_env import environment_service_pb2 as pb
from tests.client import Client

ANY = "127.0.0.1:0"


class Rewards(unittest.TestCase):
    def scores(self, reward, key=b'{"answer": 72}', texts=("x",)):
        with Server(reward, ANY) as server, Client(server.address) as client:
            return client.score(key, *texts)

    def error(self, reward, code=grpc.StatusCode.INTERNAL):
        with self.assertLogs("tactus_env"), self.assertRaises(grpc.RpcError) as raised:
            self.scores(reward)
        self.assertEqual(raised.exception.code(), code)
        return raised.exception.details()

    def test_a_function_is_a_server(self):
        def reward(prompt, completion, answer_key):
            self.assertEqual(prompt, "Q")
            return 1.0 if str(answer_key["answer"]) in completion else 0.25

        right, wrong = self.scores(reward, texts=("so 72", "é"))
        self.assertEqual([(p.name, p.value) for p in right.parts], [("reward", 1.0)])
        self.assertEqual((right.verdict, wrong.verdict), (pb.PASS, pb.FAIL))
        self.assertEqual(wrong.parts[0].value, 0.25)

    def test_a_reward_of_zero_is_said(self):
        (score,) = self.scores(lambda prompt, completion, answer_key: 0)
        self.assertTrue(score.parts[0].HasField("value"))
        self.assertEqual(score.parts[0].value, 0)

    def test_parts_verdict_and_reason(self):
        (score,) = self.scores(lambda *_: Score({"right": 1, "length": -0.5}, correct=True, reason="é" * 200))
        self.assertEqual({p.name: p.value for p in score.parts}, {"right": 1.0, "length": -0.5})
        self.assertEqual(score.verdict, pb.PASS)
        self.assertEqual(score.reason, "é" * 128)

    def test_keys_are_json_text_or_bytes(self):
        for key, expected in ((b'{"a": [1]}', {"a": [1]}), (b"72", 72), (b"no json", "no json"), (b"\xff", b"\xff"), (b"", "")):
            seen = []
            self.scores(lambda prompt, completion, answer_key: seen.append(answer_key) or 1, key)
            self.assertEqual(seen, [expected])

    def test_what_is_no_number_is_an_error_and_no_reward(self):
        self.assertIn("expected a number", self.error(lambda *_: "1.0"))
        self.assertIn("expected a number", self.error(lambda *_: None))
        self.assertIn("TypeError: length is [1]", self.error(lambda *_: Score({"length": [1]})))
        self.assertIn("reward is nan: expected a finite number", self.error(lambda *_: math.nan))
        self.assertIn("finite", self.error(lambda *_: -math.inf))
        self.assertIn("no parts", self.error(lambda *_: {}))

    def test_an_exception_names_its_line(self):
        def reward(prompt, completion, answer_key):
            return answer_key["missing"]

        self.assertRegex(self.error(reward), r"KeyError: 'missing' \(test_server\.py:\d+\)")
        self.assertLess(len(self.error(lambda *_: 1 / 0 if True else "x" * 1000)), 400)

    def test_a_group_is_scored_at_once(self):
        class Shortest(Environment):
            name, max_calls = "shortest", 3

            def score(self, prompt, completions, answer_key):
                assert completions[0] == Completion("long", (1, 2))
                least = min(len(c.text) for c in completions)
                return [Score(float(len(c.text) == least)) for c in completions]

        with Server(Shortest(), ANY) as server, Client(server.address) as client:
            self.assertEqual([s.parts[0].value for s in client.score(b"", "long", "a", "bb")], [0, 1, 0])
            described = client.describe()
        self.assertEqual((described.name, described.max_calls, described.has_prompts), ("shortest", 3, False))
        self.assertEqual(described.kind, pb.SINGLE_TURN)

    def test_too_few_scores_are_an_error(self):
        class Lazy(Environment):
            def score(self, prompt, completions, answer_key):
                return []

        self.assertIn("0 scores of 1 completions", self.error(Lazy()))

    def test_a_large_question_is_read(self):
        (score,) = self.scores(lambda prompt, completion, answer_key: len(completion), texts=("x" * (20 << 20),))
        self.assertEqual(score.parts[0].value, 20 << 20)

    def test_a_taken_port_is_named(self):
        with Server(lambda *_: 1, ANY) as server, self.assertRaises((OSError, RuntimeError)):
            Server(lambda *_: 1, server.address)


class Prompts(unittest.TestCase):
    def test_prompts_come_in_order_with_their_keys(self):
        class Sums(Environment):
            def prompts(self, split):
                return (Prompt(f"{i} + 1?", {"answer": i + 1}, system="s") for i in range(3 if split == "train" else 1))

        with Server(Sums(), ANY) as server, Client(server.address) as client:
            train, test = client.prompts(), client.prompts(pb.TEST)
            self.assertTrue(client.describe().has_prompts)
        self.assertEqual([p.id for p in train], ["0", "1", "2"])
        self.assertEqual([p.prompt for p in train], ["0 + 1?", "1 + 1?", "2 + 1?"])
        self.assertEqual((train[2].answer_key, train[2].system), (b'{"answer": 3}', "s"))
        self.assertEqual(len(test), 1)

    def test_a_generator_that_fails_ends_the_stream_with_its_error(self):
        class Broken(Environment):
            def prompts(self, split):
                yield Prompt("one")
                raise OSError("the disk is gone")

        with self.assertLogs("tactus_env"), Server(Broken(), ANY) as server, Client(server.address) as client:
            with self.assertRaises(grpc.RpcError) as raised:
                client.prompts()
        self.assertIn("OSError: the disk is gone", raised.exception.details())


@unittest.skipUnless(shutil.which("openssl"), "the openssl command is not installed")
class MutualTls(unittest.TestCase):
    def test_only_the_runs_actors_and_learners_are_let_in(self):
        with tempfile.TemporaryDirectory() as folder:
            run = lambda text: subprocess.run(["sh", "-ec", text], cwd=folder, check=True, capture_output=True)  # noqa: E731
            key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
            run(f"openssl req -x509 {key} -days 2 -subj /CN=ca -keyout ca.key -out ca.pem")
            for name, uri in (("environment", "tactus/environment"), ("actor", "tactus/actor"), ("learner", "tactus/learner"),
                              ("other", "other/actor"), ("same", "tactus/environment")):
                run(f"openssl req {key} -subj /CN=p -keyout {name}.key -out request; "
                    f"printf 'subjectAltName=DNS:localhost,URI:spiffe://{uri}' > names; "
                    f"openssl x509 -req -days 2 -in request -CA ca.pem -CAkey ca.key -CAcreateserial -extfile names -out {name}.pem")
            path = lambda name: f"{folder}/{name}"  # noqa: E731
            read = lambda name: pathlib.Path(path(name)).read_bytes()  # noqa: E731
            tls = Tls(path("environment.pem"), path("environment.key"), path("ca.pem"))
            with Server(lambda *_: 1, ANY, tls=tls) as server:
                for name, allowed in (("actor", True), ("learner", True), ("other", False), ("same", False)):
                    credentials = grpc.ssl_channel_credentials(read("ca.pem"), read(f"{name}.key"), read(f"{name}.pem"))
                    with self.subTest(name), Client(server.address, credentials) as client:
                        if allowed:
                            self.assertEqual(len(client.score(b"", "x")), 1)
                        else:
                            with self.assertRaises(grpc.RpcError) as raised:
                                client.score(b"", "x")
                            self.assertEqual(raised.exception.code(), grpc.StatusCode.PERMISSION_DENIED)


if __name__ == "__main__":
    unittest.main()
