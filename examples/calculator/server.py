"""A conversation: the model works out a sum with a calculator, in as many turns as it likes, and then says the answer.

    task { name: "environment" }  environment { address: "127.0.0.1:9000" }
"""

import ast
import fractions
import operator
import random
import re

from tactus_env import Conversation, Done, Message, Prompt, serve
from tactus_env.tool_calls import tool_calls

TOOL = {"type": "function", "function": {
    "name": "calculator", "description": "Works out an expression of numbers, + - * / and brackets.",
    "parameters": {"type": "object", "properties": {"expression": {"type": "string"}}, "required": ["expression"]}}}  # fmt: skip
OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv, ast.USub: operator.neg}
MOST = 200  # characters of an expression, so that nothing gets large


def worked_out(expression: str) -> str:
    """The value, or what is wrong, in words for the model."""

    def value(node):
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            return fractions.Fraction(str(node.value))
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
            return OPERATORS[type(node.op)](value(node.left), value(node.right))
        if isinstance(node, ast.UnaryOp) and type(node.op) in OPERATORS:
            return OPERATORS[type(node.op)](value(node.operand))
        raise ValueError

    try:
        if not isinstance(expression, str) or len(expression) > MOST:
            raise ValueError
        return str(value(ast.parse(expression.strip(), mode="eval").body))
    except ZeroDivisionError:
        return "error: division by zero"
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return f"error: expected at most {MOST} characters of numbers, + - * / and brackets"


class Calculator(Conversation):
    name = "calculator"

    @classmethod
    def prompts(cls, split):
        draw = random.Random(split)
        for _ in range(1000 if split == "train" else 100):
            a, b, c, d = (draw.randint(11, 99) for _ in range(4))
            yield Prompt(f"What is {a} * {b} - {c} * {d}? Use the calculator, then write the answer between <answer> and </answer>.",
                         answer_key={"answer": a * b - c * d}, tools=[TOOL])

    def reset(self, opening):
        self.answer, self.calls = opening.answer_key["answer"], 0

    def step(self, turn):
        try:
            calls = tool_calls(turn.text)
        except ValueError as error:
            return Message("tool", f"error: {error}")
        self.calls += len(calls)
        if calls:
            return [Message("tool", worked_out(call.arguments.get("expression")), name=call.name) for call in calls]
        found = re.findall(r"<answer>\s*(.*?)\s*</answer>", turn.text, re.DOTALL)
        right = found[-1:] == [str(self.answer)]
        return Done(float(right), right, "correct" if right else "wrong" if found else "no_answer", {"calls": self.calls})


if __name__ == "__main__":
    serve(Calculator, "127.0.0.1:9000")
