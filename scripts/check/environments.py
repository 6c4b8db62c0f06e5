#!/usr/bin/env python3
"""Rewards of users' servers: every example of examples/ judges as it should, and a server that fails spoils nothing.

    python3 scripts/check/environments.py examples|tool_use|faults --build build/release

examples: each is started and judges answers through `tactus verify`, and with the ten lines the quick start's reward rises, by more
than chance: the rewards of a step's prompts are independent and from 0 to 1, so Hoeffding's inequality bounds how likely such a
rise is where nothing is learned. A conversation of two turns is trained on for three steps, with credit from attention and from its
flow, and the learner finds its log-probs again to the last bit.
tool_use: examples/tool_use in small: the policy is warm-started, and learns to call the calculator and to use its result.
faults: one run whose server is killed, frozen, slow, and answers errors, NaN, too little, 10 MB and bytes of another type; it
must wait through each with a sentence in the log, go on when the server does, balance its books, and end with the very weights
of a run without faults. Needs what scripts/setup.sh --lint puts into .venv, else it says so and ends with 77.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import json
import math
import os
import pathlib
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from base.local import ROOT, free_port, read_url, require, skip, stop, wait  # noqa: E402
from check.faulty_environment import reward_of  # noqa: E402

PYTHON = ROOT / ".venv/bin/python"
READY_S, RUN_S, BACK_S, STOP_S = 60, 600, 60, 30
QUICK_START = ["--config", "configs/quickstart.textproto", "--set", "task.rewards=ENVIRONMENT"]
SMALL = ["--set", "rollout.prompts_per_step=4", "--set", "rollout.completions_per_prompt=4", "--set", "learner.threads=1",
         "--set", "rollout.max_completion_tokens=96", "--set", "eval.max_prompts=0", "--set", "checkpoint.every_steps=0"]  # fmt: skip
STEPS = 200
RISE_STEPS, PROMPTS_A_STEP = 25, 16  # the quick start's
WARM_START_STEPS, TOOL_STEPS = 300, 14


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT / "python/tactus_env"), "PYTHONUNBUFFERED": "1"}


@contextlib.contextmanager
def server(command: list[str], port: int) -> Iterator[subprocess.Popen]:
    """A server of ours, from when it answers at its port."""
    process = subprocess.Popen(command, cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL)
    try:

        def answers() -> bool:
            if process.poll() is not None:
                raise SystemExit(f"{command} ended with {process.returncode}")
            with contextlib.closing(socket.socket()) as s:
                return s.connect_ex(("127.0.0.1", port)) == 0

        require(wait(answers, READY_S), f"{pathlib.Path(command[-1]).name}: a server answers")
        yield process
    finally:
        process.kill()
        process.wait()


def moved(script: str, port: int, folder: pathlib.Path) -> pathlib.Path:
    """A copy of an example that serves at another port, as tests run beside each other."""
    text = (ROOT / script).read_text()
    copy = folder / script.replace("/", "_")
    assert text.count("127.0.0.1:9000") == 1, script
    copy.write_text(text.replace("127.0.0.1:9000", f"127.0.0.1:{port}"))
    return copy


def verify(build: pathlib.Path, folder: pathlib.Path, port: int, lines: list[dict]) -> list[dict]:
    """The verdicts of `tactus verify` on these answers."""
    config = folder / "verify.textproto"
    config.write_text('model { path: "m" } task { name: "countdown" rewards: ENVIRONMENT } service { plaintext: true }\n'
                      f'environment {{ address: "127.0.0.1:{port}" timeout_s: 60 }}\n')
    requests = "".join(json.dumps({"id": i, **line}) + "\n" for i, line in enumerate(lines))
    done = subprocess.run([build / "bin/tactus", "verify", "--config", config, "--input", "-"], input=requests, text=True,
                          capture_output=True, timeout=RUN_S, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def expect(name: str, verdicts: list[dict], wanted: list[tuple]) -> None:
    got = [(v["correct"], round(v["reward"], 6), v["reason"]) for v in verdicts]
    assert got == wanted, f"{name}: {got}, expected {wanted}"
    print(f"{name}: {len(got)} verdicts as expected", flush=True)


def check_ten_lines(build: pathlib.Path, folder: pathlib.Path) -> None:
    port = free_port()
    with server([PYTHON, moved("examples/ten_lines/reward.py", port, folder)], port):
        key = {"numbers": [10, 7, 10], "target": 27}
        expect("ten lines", verify(build, folder, port, [
            {**key, "response": "10-7=3 3*10=30 no\n10+7=17 17+10=27 yes\n<answer>(10+7)+10</answer>"},
            {**key, "response": "10+7=18 17+10=27 yes\n<answer>(10+7)+10</answer>"},
            {**key, "response": "20+7=27 yes\n<answer>20+7</answer>"},
            {**key, "response": ""}]), [(True, 1, ""), (False, 0, ""), (False, 0, ""), (False, 0, "")])  # fmt: skip
        run = folder / "ten"
        train(build, run, port, ["--set", f"learner.steps={RISE_STEPS}", "--set", "optimizer.schedule=CONSTANT", "--set", "eval.max_prompts=16"])
        steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        assert [s["step"] for s in steps] == list(range(1, RISE_STEPS + 1)), steps
        expect_rise("ten lines", [s["reward_mean"] for s in steps], first=5, last=10)
        held_out = [json.loads(line)["step"] for line in (run / "held_out.jsonl").read_text().splitlines()]
        require(held_out == [0, RISE_STEPS], f"ten lines: held-out prompts are judged by the server before and after: {held_out}")


def expect_rise(name: str, rewards: list[float], first: int, last: int) -> None:
    """Of the last steps over the first: P(rise >= t) <= exp(-2 t^2 / (1/n + 1/m)) for n and m independent rewards in [0, 1]."""
    before, after = statistics.mean(rewards[:first]), statistics.mean(rewards[-last:])
    chance = math.exp(-2 * max(0.0, after - before) ** 2 / (1 / (first * PROMPTS_A_STEP) + 1 / (last * PROMPTS_A_STEP)))
    require(chance < 1e-3, f"{name}: reward from {before:.3f} to {after:.3f} in {len(rewards)} steps; by chance at most {chance:.1e}")


def check_code_execution(build: pathlib.Path, folder: pathlib.Path) -> None:
    port = free_port()
    with server([PYTHON, moved("examples/code_execution/reward.py", port, folder)], port):
        key = {"tests": [["f(2)", "4"], ["f('a')", "'aa'"]]}
        expect("code execution", verify(build, folder, port, [
            {**key, "response": "Here:\n```python\ndef f(x):\n    return x + x\n```\nDone."},
            {**key, "response": "def f(x): return 4"},
            {**key, "response": "import socket\nsocket.socket()\ndef f(x): return x * 2"},
            {**key, "response": "open('/tmp/tactus-not-written', 'w')\ndef f(x): return x * 2"},
            {**key, "response": "while True: pass"}]),
            [(True, 1, "correct"), (False, 0.5, "wrong_value"), (False, 0, "failed"), (False, 0, "failed"), (False, 0, "timed_out")])  # fmt: skip
        assert not pathlib.Path("/tmp/tactus-not-written").exists()


def check_math(build: pathlib.Path, folder: pathlib.Path) -> None:
    port = free_port()
    with server([PYTHON, "-m", "tactus_env.math_reward", "--address", f"127.0.0.1:{port}", "--processes", "1", "--timeout-s", "10"], port):
        expect("math-verify", verify(build, folder, port, [
            {"answer": "#### 72", "response": "so \\boxed{72}"},
            {"answer": "\\frac12", "response": "$0.5$"},
            {"answer": "x^2-1", "response": "$(x-1)(x+1)$"},
            {"answer": 72, "response": "It is 73."}]),
            [(True, 1, "correct"), (True, 1, "correct"), (True, 1, "correct"), (False, 0, "wrong_answer")])  # fmt: skip


def check_cpp(build: pathlib.Path, folder: pathlib.Path) -> None:
    port = free_port()
    with server([build / "bin/example_reward_server", f"127.0.0.1:{port}"], port):
        expect("C++", verify(build, folder, port, [
            {"answer_key": "Paris", "response": "Paris, of course"}, {"answer_key": "Paris", "response": "Rome"}]),
            [(True, 0.984, "correct"), (False, 0, "not_named")])  # fmt: skip


def check_conversation(build: pathlib.Path, folder: pathlib.Path) -> None:
    port = free_port()
    credits = {"COUPLED": [], "FLOW": ["--set", "credit.head_mode=CALIBRATED"]}
    with server([PYTHON, ROOT / "scripts/check/conversing_environment.py", str(port)], port):
        for strategy, options in credits.items():
            train(build, folder / strategy, port, [
                *SMALL, "--set", "learner.steps=3", "--set", "rollout.max_turn_tokens=24", "--set", "rollout.max_turns=3",
                "--set", f"credit.strategy={strategy}", "--set", "credit.audit_share=1", *options])  # fmt: skip
        expect_measured_conversations(build, folder / "measured", port)
        verdict = subprocess.run(
            [build / "bin/tactus", "verify", "--config", "configs/quickstart.textproto", "--set", "task.rewards=ENVIRONMENT",
             "--set", f"environment.address=127.0.0.1:{port}", "--input", "-"],
            cwd=ROOT, input="", text=True, capture_output=True, timeout=RUN_S, check=False)  # fmt: skip
        assert verdict.returncode != 0 and "holds conversations" in verdict.stderr, verdict.stderr
    for strategy in credits:
        expect_conversation(folder / strategy)


def expect_measured_conversations(build: pathlib.Path, run: pathlib.Path, port: int) -> None:
    """The actors hold conversations about held-out prompts, and `tactus eval` holds the same with the same weights."""
    prompts, samples = 12, 3
    measure = ["--set", f"eval.max_prompts={prompts}", "--set", f"eval.samples_per_prompt={samples}", "--set", "eval.by=ACTORS"]
    turns = ["--set", "rollout.max_turn_tokens=24", "--set", "rollout.max_turns=3"]
    train(build, run, port, [*SMALL, *turns, *measure, "--set", "learner.steps=2"])
    measured = [json.loads(line) for line in (run / "held_out.jsonl").read_text().splitlines()]
    assert [record["step"] for record in measured] == [0, 2], measured
    for record, model in zip(measured, [ROOT / "models/quickstart", run / "checkpoints/step-000002/model"], strict=True):
        told = subprocess.run(
            [build / "bin/tactus", "eval", "--model", model, "--config", run / "config.textproto", "--prompts", str(prompts),
             "--samples", str(samples)],
            cwd=ROOT, text=True, capture_output=True, timeout=RUN_S, check=True)  # fmt: skip
        alone = json.loads(told.stdout)
        assert [alone["pass@1"][key] for key in ("value", "low", "high")] == [record[key] for key in ("pass1", "low", "high")], (alone, record)
        assert alone[f"pass@{samples}"]["value"] == record["pass_k"], (alone, record)
        assert 1.5 < alone["turns_mean"] <= 2 and set(alone["reasons"]) == {"tried_twice"}, alone
    assert 0 < measured[0]["pass1"] < 1, measured
    print(f"conversations, measured: pass@1 {[round(record['pass1'], 3) for record in measured]}", flush=True)


def expect_conversation(run: pathlib.Path) -> None:
    steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [s["step"] for s in steps] == [1, 2, 3], steps
    assert all(0.25 <= s["reward_mean"] <= 0.75 for s in steps), steps
    mismatch = [s["mismatch_on_policy_max"] for s in steps if "mismatch_on_policy_max" in s]
    assert mismatch and not any(mismatch), steps
    samples = [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()]
    for sample in samples:
        written = [t for t, gamma in enumerate(sample["gamma"]) if gamma == 0]
        assert written and all(sample[key][t] == 0 for key in ("logprobs", "entropy", "waad", "fai") for t in written), sample
        assert sorted(written + sample["sampled"]) == list(range(len(sample["tokens"]))), sample
        assert any(sample["gamma"][t] > 1 for t in sample["sampled"]) and any(sample["waad"]), sample
        assert "".join(sample["tokens"][t] for t in written).startswith("\n"), sample
        assert sample["reward"] in (0.25, 0.75) and sample["reason"] == "tried_twice", sample
    print(f"conversation, {run.name}: rewards {[round(s['reward_mean'], 3) for s in steps]}, {len(samples)} samples", flush=True)


def check_tool_use(build: pathlib.Path, folder: pathlib.Path) -> None:
    """docs/recipes/learn-to-use-a-tool.md, with a shorter warm start and few steps."""
    lines, policy, run, port = folder / "tool-use.jsonl", folder / "tool-use-sft", folder / "tool-use", free_port()
    with lines.open("w") as out:
        subprocess.run([PYTHON, ROOT / "examples/tool_use/conversations.py", "20000"], stdout=out, timeout=RUN_S, check=True)
    tactus(build, "sft", "--config", "configs/tool_use_sft.textproto", "--set", f"sft.data_path={lines}", "--set", "learner.threads=1",
           "--set", f"sft.steps={WARM_START_STEPS}", "--out", policy)  # fmt: skip
    with server([PYTHON, ROOT / "examples/tool_use/server.py", f"127.0.0.1:{port}"], port):
        tactus(build, "train", "--config", "configs/tool_use.textproto", "--set", f"environment.address=127.0.0.1:{port}",
               "--set", f"model.path={policy}", "--set", f"learner.steps={TOOL_STEPS}", "--set", "optimizer.lr=3e-4",
               "--set", "optimizer.schedule=CONSTANT", "--out", run, "--actors", "1")  # fmt: skip
    steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [s["step"] for s in steps] == list(range(1, TOOL_STEPS + 1)), steps
    assert not any(s["mismatch_on_policy_max"] for s in steps), "the actor's log-probs and the learner's differ"
    expect_rise("tool use", [s["reward_mean"] for s in steps], first=2, last=6)
    turns = [s["turns_mean"] for s in steps]
    require(turns[0] < 1.6 < turns[-1], f"tool use: the model's turns in a conversation from {turns[0]:.2f} to {turns[-1]:.2f}")


def tactus(build: pathlib.Path, *arguments: str | pathlib.Path) -> None:
    done = subprocess.run([build / "bin/tactus", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=RUN_S, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def train(build: pathlib.Path, run: pathlib.Path, port: int, extra: list[str]) -> None:
    tactus(build, "train", *QUICK_START, "--set", f"environment.address=127.0.0.1:{port}", *extra, "--out", run, "--actors", "1")


@dataclasses.dataclass
class Watched:
    """A run under way."""

    run: pathlib.Path

    def steps(self) -> int:
        path = self.run / "metrics.jsonl"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def scrape(self, instance: str) -> str:
        path = self.run / "logs/metrics-targets.json"
        targets = json.loads(path.read_text()) if path.exists() else []
        found = [t["targets"][0] for t in targets if t["labels"]["instance"] == instance]
        return read_url(f"http://{found[0]}/metrics")[1] if found else ""

    def calls(self, outcome: str) -> float:
        match = re.search(rf'^tactus_environment_calls_total{{outcome="{outcome}"}} (\S+)$', self.scrape("actor-0"), re.MULTILINE)
        return float(match[1]) if match else 0

    def log(self) -> str:
        path = self.run / "logs/actor-0.log"
        return path.read_text(errors="replace") if path.exists() else ""


# What the server does, what its calls are counted as, and the sentence that says so.
FAULTS = [
    ("error", "failed", "Score failed there, UNKNOWN: KeyError: 'answer'"),
    ("nan", "bad_reply", 'reward part "r" is nan; expected a finite number'),
    ("zero_scores", "bad_reply", "it has 0 scores; expected one for each of 4 answers"),
    ("missing", "bad_reply", 'reward part "r" has no value'),
    ("large", "too_large", "its answer to Score is larger than 2097152 bytes"),
    ("other_type", "bad_reply", "answers with another type of message"),
    ("hang", "timed_out", "did not answer Score within 2s"),
]


def ride(watched: Watched, name: str, outcome: str, sentence: str, begin, end) -> None:
    """One fault: from its begin until its calls are counted and named, then from its end until the run goes on."""
    before = watched.calls(outcome)
    begin()
    require(wait(lambda: watched.calls(outcome) >= before + 2, BACK_S), f"{name}: calls are counted as {outcome}")
    require(wait(lambda: sentence in watched.log(), BACK_S), f"{name}: the log says: {sentence}")
    stood = watched.steps()
    end()
    start = time.monotonic()
    on = wait(lambda: watched.steps() > stood + 1, BACK_S)
    require(on, f"{name}: two steps further {time.monotonic() - start:.1f} s after its end")


def check_faults(build: pathlib.Path, folder: pathlib.Path) -> None:
    port = free_port()
    mode = folder / "mode"
    mode.write_text("good")
    command = [str(PYTHON), str(ROOT / "scripts/check/faulty_environment.py"), str(port), str(mode)]
    few = ["--set", f"learner.steps={STEPS}", "--set", "environment.timeout_s=2"]
    with server(command, port):
        train(build, folder / "calm", port, [*SMALL, *few])
    watched = Watched(folder / "faulty")
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(server(command, port))
        job = subprocess.Popen(
            [build / "bin/tactus", "train", *QUICK_START, *SMALL, "--set", f"environment.address=127.0.0.1:{port}", *few,
             "--out", watched.run, "--actors", "1"], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True)  # fmt: skip
        stack.callback(stop, job, STOP_S)
        require(wait(lambda: watched.steps() >= 2, READY_S), "a run trains")
        for name, outcome, sentence in FAULTS:
            ride(watched, name, outcome, sentence, lambda n=name: mode.write_text(n), lambda: mode.write_text("good"))
        ride(watched, "frozen", "timed_out", "did not answer Score within 2s",
             lambda: first.send_signal(signal.SIGSTOP), lambda: first.send_signal(signal.SIGCONT))
        ride(watched, "killed", "unreachable", f"environment 127.0.0.1:{port} cannot be reached",
             first.kill, lambda: stack.enter_context(server(command, port)))
        mode.write_text("slow")
        slow = watched.steps()
        require(wait(lambda: watched.steps() > slow + 1, BACK_S), "slow: the run goes on")
        mode.write_text("good")
        books(watched)
        assert job.wait(RUN_S) == 0, watched.log()[-3000:]
    same(folder / "calm", watched.run)


def books(watched: Watched) -> None:
    """received = accepted + rejected, and no answer of a failed call among them."""
    text = watched.scrape("learner-0")
    total = lambda name: sum(float(v) for v in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))  # noqa: E731
    received, accepted, rejected = (total(f"tactus_trajectories_{n}_total") for n in ("received", "accepted", "rejected"))
    assert received > 0 and received == accepted + rejected and rejected == 0, (received, accepted, rejected)
    print(f"books: {received:.0f} answers received, all accepted", flush=True)


def same(calm: pathlib.Path, faulty: pathlib.Path) -> None:
    hashes = []
    for run in (calm, faulty):
        steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        assert [s["step"] for s in steps] == list(range(1, STEPS + 1)), f"{run} has {len(steps)} steps"
        samples = [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()]
        wrong = [s for s in samples if s["reward"] != reward_of(text_of(s))]
        assert samples and not wrong, wrong[:1]
        weights = run / f"checkpoints/step-{STEPS:06}/model/model.safetensors"
        hashes.append(hashlib.sha256(weights.read_bytes()).hexdigest())
    assert hashes[0] == hashes[1], "the faults changed what was trained"
    print(f"weights: the same with faults as without, {hashes[0][:16]}", flush=True)


def text_of(sample: dict) -> str:
    """What the server was given: the text without the stop token."""
    return sample["text"].removesuffix("<|end|>")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["examples", "tool_use", "faults"])
    parser.add_argument("--build", type=pathlib.Path, required=True)
    args = parser.parse_args()
    modules = [PYTHON, "-c", "import grpc, math_verify"]
    if not PYTHON.exists() or subprocess.run(modules, capture_output=True, timeout=READY_S, check=False).returncode:
        skip("grpcio and math-verify are not in .venv: scripts/setup.sh --lint puts them there")
    with tempfile.TemporaryDirectory() as name:
        folder, build = pathlib.Path(name), args.build.resolve()
        examples = (check_cpp, check_code_execution, check_math, check_ten_lines, check_conversation)
        for check in {"examples": examples, "tool_use": (check_tool_use,), "faults": (check_faults,)}[args.what]:
            check(build, folder)


if __name__ == "__main__":
    main()
