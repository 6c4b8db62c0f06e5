"""Run folders as Tactus leaves them."""

import json
import pathlib

CONFIG = """seed: 1
model {
  path: "models/quickstart"
  prompt_template: "{user}"
}
task {
  name: "qa"
  sources {
    path: "a.jsonl"
  }
  sources {
    path: "b.jsonl"
  }
  system_prompt: ""
}
learner {
  steps: STEPS
}
"""


def line(step: int, **more) -> str:
    return json.dumps({"step": step, "version": f"0.{step}", "time_s": 1.5 * step, "reward_mean": step / 100, **more}) + "\n"


def write(folder: pathlib.Path, steps: range, total: int = 1000) -> pathlib.Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.textproto").write_text(CONFIG.replace("STEPS", str(total)))
    (folder / "metrics.jsonl").write_text("".join(map(line, steps)))
    return folder


def append(folder: pathlib.Path, text: str) -> None:
    with open(folder / "metrics.jsonl", "a") as file:
        file.write(text)


def cut(folder: pathlib.Path, text: str) -> None:
    """As a resumed run does: the same file, to begin with these lines alone."""
    with open(folder / "metrics.jsonl", "r+") as file:
        file.write(text)
        file.truncate()


def replace(folder: pathlib.Path, text: str) -> None:
    """As a resumed run does whose file was damaged: another one in the place of the first."""
    (folder / "aside").write_text(text)
    (folder / "aside").replace(folder / "metrics.jsonl")
