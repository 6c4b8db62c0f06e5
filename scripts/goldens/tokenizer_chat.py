"""Conversations, and the published chat templates they are rendered with.

    python tokenizer_chat.py <repository>/tests/goldens/tokenizer <Mistral-Nemo's chat template>     # writes chat.jsonl

chat.jsonl: {"family", "messages", "text"}, the text as transformers renders it, generation prompt added. The templates
come from the trl package (1.x) and, where they are short, stand here. Mistral-Nemo's is neither: it is the one of
Mistral-Nemo-Instruct-2407, a file with the SHA-256 1127255163dd25a2fd472f9901035aa9e78dc77ca33efdd010f5c8ea87e5d436.
"""

import importlib.util
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from goldens.tokenizer_strings import Strings  # noqa: E402

CHATML = ("{%% for message in messages %%}%s{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
          "{%% endfor %%}{%% if add_generation_prompt %%}{{ '<|im_start|>assistant\n' }}{%% endif %%}")
DEFAULT = ("{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful assistant."
           "<|im_end|>\n' }}{% endif %}")

OLMO2 = ("{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}{{ '<|system|>\n' + message['content'] + '\n' }}"
         "{% elif message['role'] == 'user' %}{{ '<|user|>\n' + message['content'] + '\n' }}{% elif message['role'] == 'assistant' %}"
         "{% if not loop.last %}{{ '<|assistant|>\n'  + message['content'] + eos_token + '\n' }}{% else %}"
         "{{ '<|assistant|>\n'  + message['content'] + eos_token }}{% endif %}{% endif %}"
         "{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}{% endfor %}")


def templates(mistral_nemo=None):
    """Family, template source, the small tokenizer whose added tokens fit, the texts of special tokens it asks for."""
    trl = pathlib.Path(importlib.util.find_spec("trl").submodule_search_locations[0]) / "chat_templates"
    yield "chatml", CHATML % "", "qwen", {}
    yield "qwen2", CHATML % DEFAULT, "qwen", {}
    for name in ("qwen2_5", "qwen3", "qwen3_instruct_2507"):
        yield name, (trl / f"{name}.jinja").read_text(), "qwen", {}
    yield "llama3", (trl / "llama3.jinja").read_text(), "llama3", {"bos_token": "<|begin_of_text|>"}
    if mistral_nemo is not None:
        yield "mistral_nemo", mistral_nemo.read_text(), "tekken", {"bos_token": "<s>", "eos_token": "</s>"}
    yield "olmo2", OLMO2, "qwen", {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}


def conversation(strings):
    r = strings.random
    messages = [{"role": "system", "content": strings.string()}] if r.random() < 0.5 else []
    for _ in range(r.randint(1, 3)):
        question = strings.string()
        if r.random() < 0.1:
            question = f"<tool_response>{question}</tool_response>"
        messages.append({"role": "user", "content": question})
        thought = r.choice(["", "", f"<think>\n{strings.string()}\n</think>\n\n", "</think>\n", "<think>", "\n</think>x</think>\n"])
        messages.append({"role": "assistant", "content": thought + strings.string()})
    return messages[: r.randint(1, len(messages))]


def strings_for_chat(seed):
    return Strings(seed, ["<|im_end|>", "<|eot_id|>", "{user}", "<think>", "</think>"])


def render(template, special, messages):
    from transformers.utils.chat_template_utils import render_jinja_template

    rendered, _ = render_jinja_template([messages], chat_template=template, add_generation_prompt=True, **special)
    return rendered[0]


def main():
    strings = strings_for_chat(3)
    with open(pathlib.Path(sys.argv[1]) / "chat.jsonl", "w") as out:
        for family, template, _, special in templates(pathlib.Path(sys.argv[2])):
            for _ in range(60 if family == "qwen3" else 12):
                messages = conversation(strings)
                line = {"family": family, "messages": messages, "text": render(template, special, messages)}
                out.write(json.dumps(line, ensure_ascii=True, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
