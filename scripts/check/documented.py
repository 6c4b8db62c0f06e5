#!/usr/bin/env python3
"""Executes the documentation: the commands of README.md, docs/ and the programs' help, and with them every flag there is.

    python3 scripts/check/documented.py --build build/release [--list] [--only TEXT]

A command stands in an indented block that begins with one of PROGRAMS, as `tactus ...` in the README's table, or under "example" in a
help. A block runs as one shell script in a folder that looks like the repository, with the programs in PATH, and must end with 0.
SUBSTITUTIONS make it small: other names, few steps. What cannot run here is named in ELSEWHERE, with the reason. Commands
in running text are not run, but they and their flags must exist. Every flag of every help must stand in a command that ran, of
the documentation or of MORE. A rule that nothing needs any more is an error. --list shows what would run; --only runs the
blocks that contain a text. A minute or two on two cores.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from base.local import ROOT, free_port, stop, wait  # noqa: E402

BLOCK_S, READY_S, STOP_S = 180, 60, 60
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "SECURITY.md", *sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("docs/**/*.md"))]
PROGRAMS = (
    "tactus|tactus-learner|tactus-actor|tactus-track|scripts/\\S+|build/release/bin/\\S+|python3?|cmake|cd|cp|mkdir|cat|echo|seq|grep|tail|ls|df|ps"
    "|curl|openssl|promtool|kubectl|docker|kind|helm"
)
RUN = "runs/quickstart-20260101-120000"
FEW = ("--set learner.steps=2 --set rollout.prompts_per_step=2 --set rollout.completions_per_prompt=2 "
       "--set rollout.max_completion_tokens=24 --set eval.max_prompts=4")  # fmt: skip
FEW_RUNS = "seed: 1 set: [" + ", ".join(f'"{one}"' for one in [*re.findall(r"--set (\S+)", FEW), "actor.threads=1", "learner.threads=1"]) + "]"
SHORT = "--set rollout.max_prompt_tokens=400 --set rollout.max_completion_tokens=24"

# What stands in a line, and what is run instead, in this order. {live}: where a run that is under way serves its metrics.
SUBSTITUTIONS = [
    (r"\s+# .*$", ""),
    (r"\bDIR\b", RUN),
    (r"\bMODEL\b", "models/quickstart"),
    (r"\bstep-000150\b", "step-000002"),
    (r"http://(127\.0\.0\.1|HOST):PORT\b", "http://{live}"),
    (r"\bconfigs/yours\.textproto", "configs/quickstart.textproto"),
    (r"\bbuild/release/bin/(\w+) docs$", r"mkdir -p written && \1 written"),
    (r"^scripts/study/make_prompts\.py prompts\.jsonl$", r"\g<0> && head -n 20 prompts.jsonl > few && mv few prompts.jsonl"),
    (r"\bmy\.textproto", rf"\g<0> {SHORT}"),
    (r"^(tactus train --config (?!.*--out).*)$", rf"\1 --out {RUN}"),
    # A recipe's numbers hold only together.
    (r"^(tactus train --config configs/recipes/\S+ --out )(\S+)$",
     r"rm -rf \2; \1\2 --set learner.steps=2 --set eval.max_prompts=4 --set actor.threads=1 --set learner.threads=1"),
    (r"^(tactus train --config .*--out )(\S+)(.*)$", rf"rm -rf \2; \1\2\3 {FEW} --set actor.threads=1 --set learner.threads=1"),
    (r"^(tactus train --resume .*)$", r"\1 --set learner.steps=3"),
    (r"^(tactus sft .*--out )(\S+)(.*)$", r"rm -rf \2; \1\2\3 --set sft.steps=2 --set sft.sequences_per_step=2"),
    (r"^tactus average .*--out (\S+)$", r"rm -rf \1; \g<0>"),
    (r"^tactus top (--once )?\S+$", "tactus top runs/live --once --interval-s 1"),
    (r"^(tactus credit-study .*--out )(\S+)(.*)$", r"rm -rf \2; \1\2\3"),
    (r"--responses \d+ --positions \d+ --samples \d+", "--responses 1 --positions 2 --samples 2"),
    (r"--samples 8\b", "--samples 2"),
    (r"^tactus eval (?!.*--prompts).*$", r"\g<0> --prompts 4"),
    (r"^tactus rhythm-study (?!.*--max-tokens).*$", r"\g<0> --max-tokens 12"),
    (r"^tactus-learner .*--resume$", r"\g<0> --set service.listen=127.0.0.1:0"),
    (r"^tactus study configs/studies/credit\.textproto(.*)$",
     "mkdir -p plans && grep -v -e RANDOM -e ^seed: configs/studies/credit.textproto > plans/credit.textproto && "
     rf"echo '{FEW_RUNS}' >> plans/credit.textproto && tactus study plans/credit.textproto\1"),
    (r"^(grep|ps) .*$", r"\g<0> || [ $? = 1 ]"),
]

# What does not run here, and why.
ELSEWHERE = [
    (r"^scripts/(quickstart|setup|test)\.sh\b", "sets up and builds: CI runs it"),
    (r"^cmake\b", "builds: CI runs it"),
    (r"^scripts/gpu/", "needs a GPU, or builds for one"),
    (r"^scripts/monitor\.sh", "starts a Prometheus until Ctrl-C: scripts/monitoring/live.py runs one"),
    (r"^python scripts/models/make_smollm2\.py", "downloads a model"),
    (r"^python3 scripts/monitoring/make\.py", "writes into the tree: scripts/monitoring/check.py compares"),
    (r"^(kubectl|docker|kind|helm)\b", "needs a cluster: scripts/k8s/apiserver_check.py runs a real API server"),
    (r"^scripts/k8s/copy_out\.sh", "needs a cluster"),
    (r"^python3 scripts/k8s/preflight\.py mine", "needs a cluster: its --self-test has made-up ones"),
    (r"^python (examples/ten_lines/)?reward\.py", "serves until it is stopped: scripts/check/environments.py runs such servers"),
    (r"^python examples/tool_use/server\.py", "the same"),
    (r"^tactus (train|study) .*configs/(studies/)?tool_use", "needs its server: scripts/check/environments.py has one"),
    (r"^tactus train .*environment\.address", "needs a reward server: scripts/check/environments.py has one"),
    (r"^tactus train --resume s3://", "needs an object store: scripts/check/storage.py has one"),
    (r"^tactus-track\b", "needs a tracker: scripts/check/trackers.py has them"),
    (r"^promtool query instant", "needs a Prometheus: scripts/monitoring/live.py asks these expressions"),
    (r"^curl -s http://127\.0\.0\.1:9090/", "needs a Prometheus"),
    (r"^tactus top --prometheus", "needs a Prometheus: see FLAGS_ELSEWHERE"),
    (r"^tactus-actor --config DIR/config.textproto --learner HOST0:7070", "needs another host's learner: the job by hand runs one"),
]
FLAGS_ELSEWHERE = {
    ("tactus top", "--prometheus"): "tests/tools/top/source_test.cc",
    ("tactus top", "--run"): "tests/tools/top/source_test.cc",
}

# Files that commands read, by the file in the documentation whose block begins so, or as they are.
RECIPE = "docs/recipes/train-on-your-own-questions.md"
FILES_OF_BLOCKS = {"my.textproto": (RECIPE, 'model { path: "models/smollm2'), "train.jsonl": (RECIPE, '{"question": "A box')}
FILES = {
    "test.jsonl": [{"question": "A box holds 10 eggs. How many are in 3 boxes?", "answer": 30}],
    "prompts.jsonl": [{"id": "a", "prompt": "5 6 6=36:"}],
    "asks.jsonl": [{"id": i, "prompt": f"{i} 5 6=36:"} for i in range(1, 5)],
    "responses.jsonl": [{"id": "a", "prompt_ids": [53, 32, 54], "response_ids": list(range(48, 72))}],
    "cases.jsonl": [{"id": "a", "estimator": "rloo", "loss": "clip", "agg": "token_mean", "eps_low": 0.2, "eps_high": 0.2, "tis_cap": None,
                     "kl_beta": 0, "sign": "none", "rewards": [1, 0], "group_ids": ["g", "g"], "mask": [[1], [1]], "logp_new": [[-1], [-1]],
                     "logp_old": [[-1], [-1]]}],
}  # fmt: skip

# Flags that no documentation shows.
ENGINE = "--model models/quickstart --dtype float32 --threads 1 --kv-cache-mib 16"
MORE = [
    f"tactus generate {ENGINE} --input asks.jsonl --output out.jsonl --max-tokens 8 --temperature 0.5 --top-p 0.9 --top-k 5 --samples 2 "
    "--seed 3 --batch 2 && test $(wc -l < out.jsonl) = 8",
    f"tactus generate {ENGINE} --chat --prompt-template '{{user}}' --prompt '5 6 6=36:' --output out.jsonl && grep '\"text\"' out.jsonl",
    f"tactus eval {ENGINE} --task qa --data test.jsonl --set task.prompt_style=compact --temperature 0 --seed 2 --samples 2 --batch 4",
    f"tactus score {ENGINE} --input responses.jsonl --path actor --batch 2 --output out.jsonl && test -s out.jsonl",
    f"tactus rhythm {ENGINE} --input responses.jsonl --paper v1 --batch 2",
    f"tactus rhythm --model {RUN}/checkpoints/step-000002/model --config {RUN}/config.textproto --threads 1 --input responses.jsonl",
    f"tactus credit-study {ENGINE} --config configs/quickstart.textproto --set rollout.temperature=0.9 --out worth --responses 1 --positions 2 "
    "--samples 2 --seed 2 --batch 8 && test -s worth/study.html",
    f"tactus rhythm-study couplings {ENGINE} --input responses.jsonl --lag-tokens 2 --peak-quantile 0.5 --seed 2",
    f"tactus rhythm-study perturb {ENGINE} --prompts asks.jsonl --max-tokens 16 --peaks 1 --continue-tokens 4 --samples 2 --batch 8 --temperature 0.5",
    "echo '{\"id\":1,\"text\":\"7\"}' | tactus tokenize --model models/quickstart --prompt-template '{user}' --input - --output out.jsonl",
    "echo '{\"id\":1,\"answer\":7,\"response\":\"7\"}' | tactus verify --task arithmetic --input - --output out.jsonl && grep true out.jsonl",
    "echo '{\"id\":1,\"answer\":7,\"response\":\"7\"}' | tactus verify --config configs/quickstart.textproto --set task.name=arithmetic --input -",
    "sed 's/^task {/task { sources { name: \"sums\" task: \"arithmetic\" }/' configs/quickstart.textproto > mixed.textproto && "
    "echo '{\"id\":1,\"answer\":7,\"response\":\"7\"}' | tactus verify --config mixed.textproto --source sums --input - | grep true",
    f"tactus report {RUN} --html page.html && test -s page.html",
    "tactus study configs/studies/credit.textproto --out runs/credit --check | grep done",
    "tactus check-config --fields",
    "tactus check-config configs/quickstart.textproto --memory --learners 2 --actors 1",
    f"tactus plan --config {RUN}/config.textproto --cores 2 --learners 1 --actors 1 --run {RUN} --prompt-tokens 8 --disk 0.2 --measure --scratch . "
    "--json > plan.json && grep '\"known\":\"measured\"' plan.json",
    "tactus plan --config configs/quickstart.textproto --set rollout.max_completion_tokens=100 --cores 4 --peak-tflops 0.1 --memory-gbs 10 --mfu 0.5",
    "tactus plan --config configs/qwen3_0.6b_1x24gb.textproto --model-config tests/goldens/model_configs/qwen3-0.6b/config.json --gpus 2 "
    "--gpu-memory-gib 23",
    "tactus check-config --config-only configs/qwen3_4b_countdown.textproto",
    "tactus top runs/live --once --interval-s 1 --window-s 5 --http 127.0.0.1:0",
    "tactus-learner --config F --out DIR --store HOST0:29500 --rank 0 --world 1 --device cpu --metrics-listen 127.0.0.1:0 --ready-file ready "
    "--log-format json\n"
    "tactus-actor --config F --learner HOST0:7070 --instance b --device cpu --metrics-listen 127.0.0.1:0 --ready-file actor-ready "
    "--learner-timeout-s 60 --drain-grace-s 5 --log-format json --zone a --relay-listen 127.0.0.1:0 --relay-advertise 127.0.0.1:0",
    "tactus ranks --hosts 2 --host-index 0 --ranks-per-host 8 --metrics-from 127.0.0.1:29600 -- --config F --out DIR --store HOST0:29500",
]


@dataclasses.dataclass
class Block:
    where: str
    lines: list[str]  # logical ones, as they stand


def joined(lines: list[str]) -> list[str]:
    """Logical lines: a backslash, a pipe at the end and an open loop go on."""
    found: list[str] = []
    more = False
    for line in lines:
        line = line.strip()
        found = [*found[:-1], found[-1] + ("\n" if re.search(r"\b(do|done)\b|^for ", found[-1] + line) else " ") + line] if more else [*found, line]
        open_loop = len(re.findall(r"\bdo$", found[-1], re.M)) > len(re.findall(r"^done\b", found[-1], re.M))
        more = open_loop or found[-1].endswith(("\\", "|"))
        found[-1] = found[-1].removesuffix("\\").rstrip() if found[-1].endswith("\\") else found[-1]
    return found


def blocks_of_text(name: str, text: str) -> list[tuple[int, list[str]]]:
    """(line, lines) of each indented block, commands or not: what stands behind an empty line, deeper than the text before."""
    lines = text.splitlines()
    found = []
    at = 0
    while at < len(lines):
        if re.match(r" {4,}\S", lines[at]) and (at == 0 or not lines[at - 1].strip()):
            end = at
            while end < len(lines) and re.match(r" {4,}\S", lines[end]):
                end += 1
            found.append((at + 1, lines[at:end]))
            at = end
        at += 1
    return found


def documented(name: str) -> list[Block]:
    text = (ROOT / name).read_text(encoding="utf-8")
    found = [Block(f"{name}:{line}", joined(lines)) for line, lines in blocks_of_text(name, text)
             if re.match(rf"(?:{PROGRAMS})(?: (?!\d)|$)", lines[0].strip())]  # fmt: skip
    rows = re.finditer(r"^\|.*\| `((?:tactus|echo) .*)` \|$", text, re.M)
    return found + [Block(f"{name}:{text.count(chr(10), 0, row.start()) + 1}", [row[1].replace("\\|", "|")]) for row in rows]


class Programs:
    """The built programs, their commands and flags, as their help tells."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        overview = self.help("tactus")
        self.names = [f"tactus {name}" for name in re.findall(r"^  ([a-z][a-z-]+) ", overview, re.M)] + ["tactus-learner", "tactus-actor"]
        self.helps = {name: self.help(name) for name in self.names}
        self.flags = {name: set(re.findall(r"^ +(--[a-z][a-z0-9-]*)", text, re.M)) for name, text in self.helps.items()}

    def help(self, name: str) -> str:
        program, *command = name.split()
        return subprocess.run([self.folder / program, *command, "--help"], capture_output=True, text=True, timeout=60, check=True).stdout

    def examples(self) -> list[Block]:
        found = []
        for name, text in self.helps.items():
            match = re.search(r"^[Ee]xamples?:\s*(.*?)(?:\n\n|\Z)", text, re.M | re.S)
            if match is None:
                raise SystemExit(f"documented: {name} --help has no example")
            found += [Block(f"{name} --help", [line]) for line in joined(match[1].splitlines())]
        return found

    def used(self, script: str) -> list[tuple[str, list[str]]]:
        """(command, flags) of every call of ours in a script or a piece of code."""
        found = []
        for part in re.split(r"[|;&\n]", re.sub(r"'[^']*'", "''", script)):
            match = re.match(r"\s*(tactus(?:-learner|-actor| [a-z][a-z-]*))(?= |$)(.*)", part)
            if match is None:
                continue
            own, _, learner = match[2].partition(" -- ")
            found.append((match[1], re.findall(r"(?<=\s)--[a-z][a-z0-9-]*", own)))
            if learner:
                found.append(("tactus-learner", re.findall(r"--[a-z][a-z0-9-]*", learner)))
        return found

    def unknown(self, script: str) -> list[str]:
        found = []
        for name, flags in self.used(script):
            if name not in self.flags:
                found.append(f"there is no {name}")
            else:
                found += [f"{name} has no flag {flag}" for flag in flags if flag not in self.flags[name] | {"--help", "--version"}]
        return found


class World:
    """A folder that looks like the repository, in which blocks run; what they write stays in it."""

    def __init__(self, folder: pathlib.Path, programs: Programs):
        self.folder, self.live = folder, None
        self.env = os.environ | {"PATH": f"{programs.folder}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
        for entry in ROOT.iterdir():
            if entry.name not in ("runs", "build", "models", "dist", "certs"):
                (folder / entry.name).symlink_to(entry)
        (folder / "models").mkdir()
        for entry in (ROOT / "models").iterdir():
            (folder / "models" / entry.name).symlink_to(entry)
        if not (folder / "models/smollm2-135m-instruct").exists():
            (folder / "models/smollm2-135m-instruct").symlink_to(ROOT / "models/quickstart")
        for name, (document, beginning) in FILES_OF_BLOCKS.items():
            text = (ROOT / document).read_text(encoding="utf-8")
            (lines,) = [lines for _, lines in blocks_of_text(document, text) if lines[0].strip().startswith(beginning)]
            (folder / name).write_text("".join(line.strip() + "\n" for line in lines), encoding="utf-8")
        for name, rows in FILES.items():
            (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def live_address(self) -> str:
        """Where the learner of a run that lasts serves its metrics; the run starts with the first call."""
        ready = self.folder / "runs/live/logs/learner-0.ready"
        if self.live is None:
            command = f"exec nice tactus train --config configs/quickstart.textproto --out runs/live --actors 1 {FEW} --set learner.steps=1000000"
            self.live = subprocess.Popen(["bash", "-c", command], cwd=self.folder, env=self.env, stdout=subprocess.DEVNULL,
                                         stderr=(self.folder / "live.log").open("w"), start_new_session=True)  # fmt: skip
        if not wait(lambda: ready.exists() and ready.stat().st_size, READY_S):
            raise SystemExit(f"documented: the run that commands look at is not ready after {READY_S} s:\n{(self.folder / 'live.log').read_text()}")
        return json.loads(ready.read_text())["metrics"]

    def run(self, script: str) -> tuple[int | None, str]:
        process = subprocess.Popen(["bash", "-e", "-o", "pipefail", "-c", script], cwd=self.folder, env=self.env, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, text=True, errors="replace")  # fmt: skip
        try:
            output, _ = process.communicate(timeout=BLOCK_S)
            return process.returncode, output
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return None, process.communicate()[0]

    def close(self) -> None:
        if self.live is not None:
            stop(self.live, STOP_S)


class Rules:
    """SUBSTITUTIONS and ELSEWHERE, and which of them were needed."""

    def __init__(self):
        self.needed: set[str] = set()
        self.jobs = 0

    def elsewhere(self, line: str) -> str | None:
        for pattern, why in ELSEWHERE:
            if re.search(pattern, line):
                self.needed.add(pattern)
                return why
        return None

    def small(self, line: str) -> str:
        for pattern, replacement in SUBSTITUTIONS:
            line, count = re.subn(pattern, replacement, line)
            if count:
                self.needed.add(pattern)
        return line

    def job(self, lines: list[str]) -> str:
        """Ranks and actors of one job, which run at once; the end of all of them is awaited. Its missing side is added."""
        self.jobs += 1
        listen, store = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        lines = [re.sub(r"\s+# .*$", "", line) for line in lines]
        if not any(line.startswith("tactus-actor") for line in lines):
            lines.append("tactus-actor --config F --learner L --instance added")
        if all(line.startswith("tactus-actor") for line in lines):
            lines.append("tactus-learner --config F --out O")
        script = "pids=\n"
        for line in lines:
            line = re.sub(r"--hosts 2 --host-index \d --ranks-per-host 8", "--hosts 1 --host-index 0 --ranks-per-host 2", line)
            for flag, value in (("config", "configs/quickstart.textproto"), ("out", f"runs/job-{self.jobs}"), ("store", store), ("learner", listen)):
                line = re.sub(rf"--{flag} \S+", f"--{flag} {value}", line)
            server = "" if line.startswith("tactus-actor") else f"--set service.listen={listen} "
            script += f'{line} {server}{FEW} &\npids="$pids $!"\n'
        return script + "for pid in $pids; do wait $pid; done\n"

    def script(self, block: Block) -> str:
        """What is run of a block; empty: nothing."""
        lines = [line for line in block.lines if self.elsewhere(line) is None]
        if lines and all(re.match(r"tactus ranks|tactus-(learner|actor)\b", line) for line in lines):
            return self.job(lines)
        return "\n".join(self.small(line) for line in lines)

    def unneeded(self) -> list[str]:
        return [pattern for pattern, _ in SUBSTITUTIONS + ELSEWHERE if pattern not in self.needed]


def check_running_text(programs: Programs) -> list[str]:
    """Commands in `code` that are not run."""
    found = []
    for name in DOCUMENTS:
        for number, line in enumerate((ROOT / name).read_text(encoding="utf-8").splitlines(), 1):
            for code in re.findall(r"`(tactus[- ][a-z][^`]*)`", line):
                found += [f"{name}:{number}: `{code}`: {what}" for what in programs.unknown(code)]
    return found


def check_flags(programs: Programs, ran: set[tuple[str, str]]) -> list[str]:
    found = []
    for name, flags in programs.flags.items():
        for flag in sorted(flags):
            test = FLAGS_ELSEWHERE.get((name, flag))
            if (name, flag) in ran:
                found += [f"{name} {flag} ran: take it out of FLAGS_ELSEWHERE"] if test else []
            elif test is None:
                found.append(f"{name} {flag}: no documentation shows it and no command of MORE has it")
            elif not (ROOT / test).exists():
                found.append(f"{name} {flag}: there is no {test}")
    return found


def run_all(world: World, programs: Programs, blocks: list[Block], rules: Rules) -> tuple[list[str], set[tuple[str, str]]]:
    problems, ran = [], set()
    for block in blocks:
        script = rules.script(block)
        if not script:
            continue
        problems += [f"{block.where}: {what}" for what in programs.unknown(script)]
        if "{live}" in script or "runs/live" in script:
            script = script.replace("{live}", world.live_address())
        code, output = world.run(script)
        if code != 0:
            tail = "\n".join(f"    {line}" for line in output.splitlines()[-20:])
            problems.append(f"{block.where}: {'out of time' if code is None else f'exit code {code}'}\n{script}\n{tail}")
        else:
            ran |= {(name, flag) for name, flags in programs.used(script) for flag in flags}
    return problems, ran


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--only", metavar="TEXT", default="")
    args = parser.parse_args()
    programs = Programs(args.build.resolve() / "bin")
    blocks = [block for name in DOCUMENTS for block in documented(name)] + programs.examples()
    blocks += [Block(f"MORE[{i}]", joined(text.splitlines())) for i, text in enumerate(MORE)]
    blocks = [block for block in blocks if args.only in "\n".join([block.where, *block.lines])]
    rules = Rules()
    if args.list:
        for block in blocks:
            print(f"{block.where}\n{rules.script(block) or '(elsewhere)'}\n")
        return 0
    with tempfile.TemporaryDirectory(prefix="tactus-documented-") as folder:
        world = World(pathlib.Path(folder), programs)
        try:
            problems, ran = run_all(world, programs, blocks, rules)
        finally:
            world.close()
    if not args.only:
        problems += check_running_text(programs) + check_flags(programs, ran)
        problems += [f"nothing needs the rule {pattern} any more" for pattern in rules.unneeded()]
    print("\n".join(problems) if problems else f"documented: {len(blocks)} blocks, {len(ran)} flags")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
