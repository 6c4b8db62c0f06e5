"""Writes jinja.jsonl: chat templates of many shapes, as `transformers` renders them.

    python jinja_goldens.py <repository>/tests/goldens/tokenizer      # transformers 5.17.0, Jinja2 3.1.6

The first line holds what the templates find: {"conversations", "tools", "special"}. Every other one: {"name", "template", "cases"},
a case being {"conversation", "more": names beside the usual ones, "text"}, or "refused" in place of the text where `transformers`
raises an error: the message when the template itself raised it, else "". The clock stands still.
"""

import datetime
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from goldens.jinja_templates import CONVERSATIONS, TEMPLATES, TOOLS  # noqa: E402

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}


class StoppedClock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2026, 3, 5, 14, 7, 9)


def render(template, names):
    from transformers.utils import chat_template_utils

    chat_template_utils.datetime = StoppedClock
    rest = {k: v for k, v in names.items() if k not in ("messages", "documents")}
    return chat_template_utils.render_jinja_template([names["messages"]], chat_template=template, **rest)[0][0]


def main():
    from jinja2.exceptions import TemplateError, TemplateRuntimeError, TemplateSyntaxError

    def write(line):
        out.write(json.dumps(line, ensure_ascii=True, separators=(",", ":")) + "\n")

    with open(pathlib.Path(sys.argv[1]) / "jinja.jsonl", "w") as out:
        write({"conversations": CONVERSATIONS, "tools": TOOLS, "special": SPECIAL})
        for name, entry in TEMPLATES.items():
            template, conversations, more = entry if isinstance(entry, tuple) else (entry, tuple(CONVERSATIONS), {})
            cases = []
            for conversation in conversations:
                names = {"messages": CONVERSATIONS[conversation], "tools": TOOLS if conversation == "calls" else None, "documents": None,
                         "add_generation_prompt": conversation != "calls", **SPECIAL, **more}
                case = {"conversation": conversation, "more": more}
                try:
                    case["text"] = render(template, names)
                except Exception as error:  # whatever Python raises
                    own = isinstance(error, TemplateError) and not isinstance(error, (TemplateRuntimeError, TemplateSyntaxError))
                    case["refused"] = str(error) if own else ""
                cases.append(case)
            write({"name": name, "template": template, "cases": cases})


if __name__ == "__main__":
    main()
