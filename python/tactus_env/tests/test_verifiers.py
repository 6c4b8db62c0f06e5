"""Environments of the package verifiers, unchanged, over gRPC."""

import json
import re
import unittest

import grpc

from tactus_env import Server
from tactus_env import environment_service_pb2 as pb

from .client import Client

try:
    import verifiers as vf
    from datasets import Dataset

    from tactus_env.verifiers import Verifiers
except ImportError as error:
    raise unittest.SkipTest(f"verifiers is not installed: {error}") from None

ANY = "127.0.0.1:0"


def multiply(a: int, b: int) -> int:
    """Multiplies.

    Args:
        a: one number
        b: the other
    """
    return int(a) * int(b)


def right(completion, answer) -> float:
    return float(str(answer) in str(completion[-1].content))


def called(completion) -> float:
    return float(any(message.role == "tool" for message in completion))


def tool_environment():
    rows = Dataset.from_list([{"question": f"What is {n} * 7?", "answer": str(7 * n)} for n in range(11, 20)])
    return vf.ToolEnv(dataset=rows, tools=[multiply], rubric=vf.Rubric(funcs=[right, called], weights=[1.0, 0.5]), max_turns=4,
                      system_prompt="Be brief.")


class Hangman(vf.MultiTurnEnv):
    """As the package's documentation has environments made."""

    async def setup_state(self, state):
        state["tries"] = 0
        return state

    async def env_response(self, messages, state, **kwargs):
        state["tries"] += 1
        letter = messages[-1].content.strip()
        if letter == state["answer"]:
            state["final_env_response"] = [{"role": "user", "content": "Right."}]
            return state["final_env_response"]
        return [{"role": "user", "content": "yes" if letter in state["answer"] else "no"}]


def found(state) -> float:
    return float(state.get("final_env_response") is not None)


class Rewriting(Hangman):
    async def get_prompt_messages(self, state):
        return (await super().get_prompt_messages(state))[-1:] if state["trajectory"] else state["prompt"]


class Failing(Hangman):
    async def env_response(self, messages, state, **kwargs):
        raise KeyError("no such state")


def hangman(kind=Hangman):
    rows = Dataset.from_list([{"question": "Guess the word.", "answer": "cat"}])
    return kind(dataset=rows, rubric=vf.Rubric(funcs=[found]), max_turns=-1)


def call(a, b):
    return f'<tool_call>{json.dumps({"name": "multiply", "arguments": {"a": a, "b": b}})}</tool_call>'


class Episodes(unittest.TestCase):
    def serve(self, environment):
        server = Server(Verifiers(environment), ANY).start()
        self.addCleanup(server.stop)
        client = Client(server.address)
        self.addCleanup(client.__exit__)
        return client

    def test_tools_are_called_over_two_turns(self):
        client = self.serve(tool_environment())
        self.assertEqual(client.describe().kind, pb.CONVERSATION)
        prompts = client.prompts()
        self.assertEqual(client.prompts(pb.TEST), [])
        self.assertEqual((prompts[1].prompt, prompts[1].system, len(prompts)), ("What is 12 * 7?", "Be brief.", 9))
        (tool,) = json.loads(prompts[1].tools)
        self.assertEqual((tool["type"], tool["function"]["name"], sorted(tool["function"]["parameters"]["properties"])),
                         ("function", "multiply", ["a", "b"]))
        episode = client.episode(key=prompts[1].answer_key)
        reply = episode.turn("Let me see. " + call(12, 7))
        self.assertEqual([(m.role, m.content, m.name, m.tool_call_id) for m in reply.messages], [("tool", "84", "multiply", "call-1-0")])
        last = episode.turn("It is 84.")
        self.assertTrue(last.done)
        self.assertEqual((last.parts[0].value, last.verdict, last.reason), (1.5, pb.PASS, "no_tools_called"))
        self.assertEqual((last.metrics["right"], last.metrics["called"], last.metrics["multiply_calls"]), (1, 1, 1))

    def test_many_episodes_at_once(self):
        client = self.serve(tool_environment())
        prompts = client.prompts()
        episodes = [client.episode(key=prompt.answer_key) for prompt in prompts for _ in range(4)]
        numbers = [int(re.findall(r"\d+", prompt.prompt)[0]) for prompt in prompts for _ in range(4)]
        self.assertEqual([e.turn(call(n, 7)).messages[0].content for e, n in zip(episodes, numbers)], [str(7 * n) for n in numbers])
        self.assertEqual([e.turn("It is 84.").parts[0].value for e in episodes], [1.5 if n == 12 else 0.5 for n in numbers])

    def test_a_game_of_turns(self):
        client = self.serve(hangman())
        key = client.prompts()[0].answer_key
        episode = client.episode(key=key)
        self.assertEqual([episode.turn(letter).messages[0].content for letter in "abc"], ["yes", "no", "yes"])
        self.assertEqual([(p.name, p.value) for p in episode.turn("cat").parts], [("reward", 1.0)])
        rows = Dataset.from_list([{"question": "2+2?", "answer": "4"}])
        single = self.serve(vf.SingleTurnEnv(dataset=rows, rubric=vf.Rubric(funcs=[right])))
        self.assertEqual(single.episode(key=single.prompts()[0].answer_key).turn("4").parts[0].value, 1.0)

    def test_limits_end_it_with_what_there_is(self):
        client = self.serve(hangman())
        key = client.prompts()[0].answer_key
        reply = client.episode(key=key).turn("a", last=pb.LIMIT_TURNS)
        self.assertEqual((reply.done, reply.parts[0].value, reply.verdict), (True, 0.0, pb.FAIL))
        episode = client.episode(key=key)
        episode.turn("a")
        self.assertTrue(episode.ask(stop=pb.Stop(limit=pb.LIMIT_TOKENS)).done)
        self.assertEqual(client.episode(key=key).turn("cat", last=pb.LIMIT_TURNS).parts[0].value, 1.0)

    def test_what_cannot_be_trained_on_is_told(self):
        with self.assertLogs("tactus_env"):
            for kind, sentence in ((Rewriting, "rewrites the conversation"), (Failing, "KeyError")):
                client = self.serve(hangman(kind))
                with self.subTest(kind), self.assertRaises(grpc.RpcError) as raised:
                    client.episode(key=client.prompts()[0].answer_key).turn("a")
                self.assertIn(sentence, raised.exception.details())
            with self.assertRaises(grpc.RpcError) as raised:
                client.episode(key=b'{"row": 9999}').turn("a")
            self.assertIn("the answer key is {'row': 9999}: expected", raised.exception.details())


if __name__ == "__main__":
    unittest.main()
