"""Reads the tools that a model calls out of its turn, as the templates of Qwen and Llama-3 have them written."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

TAGGED = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
MAX_CALLS = 16  # of a turn
EXPECTED = 'expected {"name": "…", "arguments": {…}}'


@dataclasses.dataclass(frozen=True)
class ToolCall:
    name: str
    arguments: dict[str, Any]

    def json(self) -> str:
        """The arguments."""
        return json.dumps(self.arguments, ensure_ascii=False)


def tool_calls(text: str) -> list[ToolCall]:
    """Qwen's <tool_call>{…}</tool_call>, any number of them, or Llama-3's turn that is one JSON object with "name" and
    "parameters", after <|python_tag|> perhaps. None: the turn calls nothing. ValueError, in words for the model: a call that
    cannot be read."""
    tagged = TAGGED.findall(text)
    if not tagged and "<tool_call>" in text:
        raise ValueError("<tool_call> without </tool_call>")
    if tagged:
        if len(tagged) > MAX_CALLS:
            raise ValueError(f"{len(tagged)} calls in one turn: expected at most {MAX_CALLS}")
        return [_call(_json(body)) for body in tagged]
    bare = text.strip().removeprefix("<|python_tag|>").strip()
    if not (bare.startswith("{") and bare.endswith("}")):
        return []
    try:
        value = _json(bare)
    except ValueError:
        return []
    return [_call(value)] if isinstance(value, dict) and "name" in value and ("parameters" in value or "arguments" in value) else []


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"a call is no JSON; {EXPECTED}") from None


def _call(value: Any) -> ToolCall:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise ValueError(f"a call has no name; {EXPECTED}")
    arguments = value.get("arguments", value.get("parameters", {}))
    if not isinstance(arguments, dict):
        raise ValueError(f"the arguments of {value['name']} are no object; {EXPECTED}")
    return ToolCall(value["name"], arguments)
