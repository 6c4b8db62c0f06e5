"""examples/calculator, over gRPC, with a model that says what is written here."""

import importlib.util
import json
import pathlib
import unittest

from tactus_env import Server
from tactus_env import environment_service_pb2 as pb
from tactus_env.tool_calls import ToolCall, tool_calls

from .client import Client

EXAMPLE = pathlib.Path(__file__).resolve().parents[3] / "examples/calculator/server.py"
ANY = "127.0.0.1:0"


def qwen(expression):
    return f'<tool_call>\n{json.dumps({"name": "calculator", "arguments": {"expression": expression}})}\n</tool_call>'


class Calls(unittest.TestCase):
    def test_of_qwen_and_llama(self):
        call = ToolCall("f", {"x": 1})
        for text in ('<tool_call>{"name": "f", "arguments": {"x": 1}}</tool_call>',
                     'So: <tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>',
                     '{"name": "f", "parameters": {"x": 1}}', ' <|python_tag|>{"name": "f", "parameters": {"x": 1}}\n'):
            with self.subTest(text):
                self.assertEqual(tool_calls(text), [call])
        self.assertEqual(len(tool_calls(qwen("1") + " and " + qwen("2"))), 2)
        for text in ("", "It is 5.", "{x}", '{"answer": 5}', "[1]", '{"name": "Ada"}'):
            with self.subTest(text):
                self.assertEqual(tool_calls(text), [])

    def test_unreadable_ones_are_told_to_the_model(self):
        for text, said in (("<tool_call>{", "without </tool_call>"), ("<tool_call>{</tool_call>", "no JSON; expected"),
                           ("<tool_call>[]</tool_call>", "no name; expected"),
                           ('<tool_call>{"name": "f", "arguments": 1}</tool_call>', "of f are no object"),
                           (qwen("1") * 17, "17 calls"), ("<tool_call>" + "[" * 100000 + "</tool_call>", "no JSON")):
            with self.subTest(text[:40]), self.assertRaisesRegex(ValueError, said):
                tool_calls(text)


@unittest.skipUnless(EXAMPLE.exists(), "needs Tactus' tree")
class Calculator(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        spec = importlib.util.spec_from_file_location("calculator_example", EXAMPLE)
        cls.example = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(cls.example)

    def test_works_out_what_it_can_and_nothing_else(self):
        for expression, value in (("12*34", "408"), ("(1+2)/4", "3/4"), ("-7 + 0.5", "-13/2"),
                                  (" 2 * (3 - -4) ", "14"), ("1/0", "error: division by zero")):
            with self.subTest(expression):
                self.assertEqual(self.example.worked_out(expression), value)
        for expression in ("", "9**9**9", "__import__('os')", "a+1", "1 if 1 else 2",
                           "'x'*99", "True+1", "[1]", "1e999", "(" * 150, "1" * 201, None, 5):
            with self.subTest(expression):
                self.assertTrue(self.example.worked_out(expression).startswith("error: expected at most 200"))

    def test_an_episode_over_several_turns(self):
        with Server(self.example.Calculator, ANY) as server, Client(server.address) as client:
            prompts = client.prompts()
            self.assertTrue({p.prompt for p in prompts}.isdisjoint({p.prompt for p in client.prompts(pb.TEST)}))
            prompt = prompts[0]
            self.assertEqual(json.loads(prompt.tools)[0]["function"]["name"], "calculator")
            left, right = prompt.prompt.partition("What is ")[2].partition("?")[0].split(" - ")
            episode = client.episode(key=prompt.answer_key)
            first, second = (episode.turn(qwen(part)).messages[0] for part in (left, right))
            self.assertEqual((first.role, first.name, second.role), ("tool", "calculator", "tool"))
            third = episode.turn(qwen(f"{first.content} - {second.content}")).messages[0].content
            last = episode.turn(f"So <answer> {third} </answer>")
            self.assertTrue(last.done)
            self.assertEqual((last.verdict, last.parts[0].value, last.reason, last.metrics["calls"]), (pb.PASS, 1, "correct", 3))

    def test_mistakes_are_answered_and_earn_nothing(self):
        with Server(self.example.Calculator, ANY) as server, Client(server.address) as client:
            episode = client.episode(key=b'{"answer": 5}')
            self.assertIn("error: a call is no JSON", episode.turn("<tool_call>2+3</tool_call>").messages[0].content)
            self.assertIn("error: expected", episode.turn(qwen("two")).messages[0].content)
            self.assertEqual([m.content for m in episode.turn(qwen("2") + qwen("3")).messages], ["2", "3"])
            last = episode.turn("<answer>6</answer>")
            self.assertEqual((last.done, last.verdict, last.parts[0].value, last.reason), (True, pb.FAIL, 0, "wrong"))
            reply = client.episode(key=b'{"answer": 5}').turn(qwen("2+3"), last=pb.LIMIT_TURNS)
            self.assertEqual((reply.done, reply.verdict, reply.reason), (True, pb.FAIL, "out of turns"))


if __name__ == "__main__":
    unittest.main()
