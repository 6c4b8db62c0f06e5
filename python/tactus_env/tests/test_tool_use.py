"""examples/tool_use, with a model that says what is written here, and the conversations it is warm-started on."""

import collections
import pathlib
import random
import re
import sys
import unittest

from tactus_env import Done, Opening, Say, Turn

EXAMPLE = pathlib.Path(__file__).resolve().parents[3] / "examples/tool_use"


@unittest.skipUnless(EXAMPLE.exists(), "needs Tactus' tree")
class ToolUse(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        sys.path.insert(0, str(EXAMPLE))
        try:
            import conversations
            import server
        finally:
            sys.path.remove(str(EXAMPLE))
        cls.server, cls.conversations = server, conversations

    def step(self, *said):
        episode = self.server.ToolUse()
        episode.reset(Opening("37*48?", {"answer": 1776}))
        return [episode.step(Turn(text, number)) for number, text in enumerate(said, 1)][-1]

    def test_the_calculator_answers_any_call_and_the_answer_is_judged(self):
        self.assertEqual(self.step("[37*48]"), Say(raw="=1776\n"))
        self.assertEqual(self.step("[12*11]"), Say(raw="=132\n"))
        self.assertEqual(self.step("[37*48]", "<answer>1776</answer>"), Done(1.0, reason="right", metrics={"calls": 1}))
        self.assertEqual(self.step("<answer>1776</answer>"), Done(1.0, reason="right", metrics={"calls": 0}))
        self.assertEqual(self.step("[1*1]", "[37*48]", "<answer>1777</answer>"), Done(0.0, reason="wrong", metrics={"calls": 2}))
        for text in ("", "[37*48", "[37+48]", "[3700*48]", "[37*48] ", "1776", "<answer></answer>", "<answer>1776", "<answer>-1</answer>", "[3٣*48]"):
            with self.subTest(text):
                self.assertEqual(self.step(text).reward, 0.0)

    def test_parts_share_no_pair_and_are_the_same_every_time(self):
        parts = {name: self.conversations.pairs(name) for name in ("warm start", "train", "test")}
        self.assertEqual(len(set().union(*parts.values())), 89 * 89)
        self.assertEqual(sum(map(len, parts.values())), 89 * 89)
        self.assertEqual(parts["train"], self.conversations.pairs("train"))
        self.assertEqual([p.answer_key["answer"] for p in self.server.ToolUse.prompts("test")], [a * b for a, b in parts["test"]])

    def test_worked_conversations_call_seldom_and_believe_three_of_five(self):
        draw, kinds = random.Random(1), collections.Counter()
        warm = self.conversations.pairs("warm start")
        for _ in range(8000):
            a, b = draw.choice(warm)
            line = self.conversations.line(draw, a, b)
            first = line["prompt"] == f"{a}*{b}?"
            if not first:
                self.assertEqual(line["prompt"], f"{a}*{b}?[{a}*{b}]<|end|>={a * b}\n")
            right = line["response"] in (f"[{a}*{b}]", f"<answer>{a * b}</answer>")
            self.assertTrue(re.fullmatch(r"\[\d+\*\d+\]|<answer>\d+</answer>", line["response"]))
            kinds[first, line["response"][0], right] += 1
        share = {kind: count / 8000 for kind, count in kinds.items()}
        for kind, expected in (((True, "<", False), 0.375), ((True, "[", True), 0.0625), ((True, "[", False), 0.0625),
                               ((False, "<", True), 0.3), ((False, "<", False), 0.2)):
            self.assertAlmostEqual(share[kind], expected, delta=0.02, msg=str(kind))
