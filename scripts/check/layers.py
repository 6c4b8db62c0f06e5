#!/usr/bin/env python3
"""Checks who includes whom, as docs/ARCHITECTURE.md lays down.

    python3 scripts/check/layers.py [--self-test]

    proto <- common/base <- common/storage <- common/device <- {config, metrics, data, tokenizer, collective, ops} <- {model, rhythm, tasks, rollout}
          <- {environment, weights} <- {actor | learner} <- {tools, tests, bench}

A file may include what stands left of it, its own room, and the few neighbours listed in PEERS. A room is a component or a
folder right below one; a folder below that, as actor/engine/cuda, belongs to its room. Rooms of one component stand in an
order too (ROOMS; "." is the component's own folder):

    common/model    folder <- . <- {cpu, cuda}
    common/ops      . <- cpu <- cuda
    common/weights  delta <- .
    common/tokenizer  . <- jinja <- chat
    actor           engine <- .
    learner         {algo, ledger} <- {train, checkpoint, rollout} <- {records, sft} <- .
    tools           batch <- report <- job <- {plan, study, top} <- .

No circle of includes: between files, and between rooms of tests and benches, which have no order. Besides:
gRPC only in grpc_* files, Arrow only in common/data/parquet_rows.cc
and common/storage/arrow_store.cc, c10d and NCCL only in common/collective, CUDA only in *.cu and *_cuda.*, torch/torch.h
nowhere, generated protobuf only in the .cc files of codecs, checkpoints, tests and users of config, and in grpc_* files.
--self-test runs the rules on seeded violations; exit 0 = no violation (or every seeded one found).
"""

import pathlib
import re
import sys

LAYERS = [
    ["proto"],
    ["common/base"],
    ["common/storage"],
    ["common/device"],
    ["common/config", "common/metrics", "common/data", "common/tokenizer", "common/collective", "common/ops"],
    ["common/model", "common/rhythm", "common/tasks", "common/rollout"],
    ["common/environment", "common/weights"],
    ["actor", "learner"],
    ["tools", "tests", "bench"],
]
ROOMS = {
    "common/model": [["folder"], ["."], ["cpu", "cuda"]],
    "common/ops": [["."], ["cpu"], ["cuda"]],
    "common/weights": [["delta"], ["."]],
    "common/tokenizer": [["."], ["jinja"], ["chat"]],
    "actor": [["engine"], ["."]],
    "learner": [["algo", "ledger"], ["train", "checkpoint", "rollout"], ["records", "sft"], ["."]],
    "tools": [["batch"], ["report"], ["job"], ["plan", "study", "top"], ["."]],
}
ARROW_FILES = ("common/data/parquet_rows.cc", "common/storage/arrow_store.cc")
UNORDERED = ("tests", "bench")
RANK = {component: rank for rank, layer in enumerate(LAYERS) for component in layer}
ROOM_RANK = {(component, room): rank for component, order in ROOMS.items() for rank, rooms in enumerate(order) for room in rooms}
# Neighbours of one layer that may use another; each pair one way only.
PEERS = {
    ("common/tokenizer", "common/data"),  # TokenId
    ("tests", "tools"),
    ("bench", "tools"),
}
SUFFIXES = {".h", ".cc", ".cu", ".cuh", ".cpp", ".hpp"}
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]')


def component_of(path: str) -> str | None:
    """The component a path of the tree (or an include that names one) belongs to."""
    parts = path.split("/")
    if parts[0] == "common" and len(parts) > 2:
        return "/".join(parts[:2])
    return parts[0] if parts[0] in RANK else None


def room_of(path: str) -> str:
    """The folder right below its component that a path lies in; "." for the component's own files."""
    below = path.removeprefix(f"{component_of(path)}/")
    return below.split("/")[0] if "/" in below else "."


def layer_violation(path: str, include: str) -> str | None:
    user, used = component_of(path), component_of(include)
    if user is None or used is None:
        return None
    if user not in RANK or used not in RANK:
        unknown = user if user not in RANK else used
        return f"component {unknown} has no place in the layers"
    if user == used:
        return None if user in UNORDERED else room_violation(user, room_of(path), room_of(include))
    if RANK[used] < RANK[user] or (user, used) in PEERS:
        return None
    return f"{user} may not use {used}"


def room_violation(component: str, user: str, used: str) -> str | None:
    if user == used:
        return None
    for room in (user, used):
        if (component, room) not in ROOM_RANK:
            return f"room {component}/{room} has no place in the order"
    if ROOM_RANK[component, used] < ROOM_RANK[component, user]:
        return None
    return f"{component}/{user} may not use {component}/{used}"


def kind_violation(path: str, include: str) -> str | None:
    """Headers that only certain files may include, wherever they stand."""
    name, component = path.rsplit("/", 1)[-1], component_of(path)
    in_grpc = "grpc" in name
    cuda_file = name.endswith((".cu", ".cuh")) or "_cuda." in name
    if include == "torch/torch.h":
        return "torch/torch.h costs 20 s per file: include the narrow header"
    if include.startswith(("arrow/", "parquet/")):
        return None if path in ARROW_FILES else f"Arrow belongs in {' and '.join(ARROW_FILES)}"
    if include.startswith(("grpc/", "grpcpp/", "grpc++/")) or include.endswith(".grpc.pb.h"):
        return None if in_grpc else "gRPC belongs in grpc_* files"
    if include.startswith(("torch/csrc/distributed/", "gloo/")) or include in ("nccl.h", "nccl_net.h"):
        in_place = component == "common/collective" or path.startswith("tests/collective/")
        return None if in_place else "c10d, Gloo and NCCL belong in common/collective"
    if include.startswith(("c10/cuda/", "ATen/cuda/", "cub/", "thrust/", "cuda/")) or re.match(r"cu(da|blas|fft)\w*\.h", include):
        return None if cuda_file else "CUDA belongs in *.cu and *_cuda.* files"
    if include.endswith(".pb.h") and name.endswith(".h") and not in_grpc:
        return "generated protobuf belongs in .cc files: a header declares the type (common/config/config_fwd.h)"
    if include.endswith(".pb.h") and not include.startswith("google/protobuf/"):
        known = include in ("proto/config.pb.h", "proto/options.pb.h", "proto/study.pb.h") or component == "tests"
        allowed = known or in_grpc or "codec" in name or "checkpoint" in path
        return None if allowed else "generated protobuf belongs in codecs, grpc_* files and checkpoints"
    return None


def includes(text: str) -> list[tuple[int, str]]:
    """Line and name of each include."""
    matches = ((number, INCLUDE.match(line)) for number, line in enumerate(text.splitlines(), 1))
    return [(number, match.group(1)) for number, match in matches if match]


def violations(path: str, text: str) -> list[str]:
    reasons = ((n, name, rule(path, name)) for n, name in includes(text) for rule in (layer_violation, kind_violation))
    return [f'{path}:{number}: "{name}": {reason}' for number, name, reason in reasons if reason]


def circles(uses: dict[str, set[str]]) -> list[str]:
    """One path for each circle that a walk in depth meets: "a -> b -> a"."""
    found: list[str] = []
    done: set[str] = set()
    way: list[str] = []

    def walk(node: str) -> None:
        if node in way:
            found.append(" -> ".join([*way[way.index(node) :], node]))
        elif node not in done:
            way.append(node)
            for other in sorted(uses.get(node, ())):
                walk(other)
            done.add(way.pop())

    for node in sorted(uses):
        walk(node)
    return found


def circle_violations(texts: dict[str, str]) -> list[str]:
    """Of files, and of the folders of tests and benches."""
    files = {path: {name for _, name in includes(text) if name in texts} for path, text in texts.items()}
    rooms: dict[str, set[str]] = {}
    for path, used in files.items():
        room = path.rpartition("/")[0]
        others = {name.rpartition("/")[0] for name in used} - {room}
        rooms.setdefault(room, set()).update(o for o in others if component_of(f"{room}/") == component_of(f"{o}/") in UNORDERED)
    return [f"a circle of includes: {circle}" for uses in (files, rooms) for circle in circles(uses)]


def check_tree(root: pathlib.Path) -> int:
    files = [p for top in sorted({c.split("/")[0] for c in RANK}) for p in sorted((root / top).rglob("*"))]
    texts = {p.relative_to(root).as_posix(): p.read_text(errors="replace") for p in files if p.suffix in SUFFIXES}
    if not texts:
        print(f"{root}: no source file found", file=sys.stderr)
        return 1
    found = [v for path, text in texts.items() for v in violations(path, text)] + circle_violations(texts)
    for violation in found:
        print(violation)
    print(f"layers: {len(texts)} files, {len(found)} violations")
    return 1 if found else 0


SEEDED = [  # file, include, whether it breaks a rule
    ("common/base/file.cc", "common/data/types.h", True),
    ("common/model/a.cc", "common/weights/b.h", True),
    ("common/config/a.cc", "common/ops/b.h", True),
    ("common/base/file.cc", "common/device/devices.h", True),
    ("common/config/validate.cc", "common/device/device_spec.h", False),
    ("common/device/devices_none.cc", "cuda_runtime_api.h", True),
    ("common/device/devices_cuda.cc", "cuda_runtime_api.h", False),
    ("common/data/data_rows.cc", "arrow/array.h", True),
    ("common/data/parquet_rows.cc", "arrow/array.h", False),
    ("common/data/a.cc", "common/tokenizer/b.h", True),
    ("actor/main.cc", "learner/learner.h", True),
    ("learner/main.cc", "actor/actor.h", True),
    ("learner/main.cc", "tools/display.h", True),
    ("common/newthing/a.cc", "common/base/file.h", True),
    ("actor/actor.cc", "grpcpp/grpcpp.h", True),
    ("actor/actor.cc", "proto/rollout_service.grpc.pb.h", True),
    ("learner/train/trainer.cc", "torch/csrc/distributed/c10d/TCPStore.hpp", True),
    ("common/ops/linear.cc", "cuda_runtime.h", True),
    ("common/ops/linear.cc", "ATen/cuda/CUDAContext.h", True),
    ("common/ops/linear.cc", "torch/torch.h", True),
    ("learner/ledger/ledger.cc", "proto/trajectory.pb.h", True),
    ("learner/algo/loss.cc", "learner/train/trainer.h", True),
    ("learner/ledger/ledger.cc", "learner/records/run_recorder.h", True),
    ("learner/records/run_recorder.cc", "learner/sft/trainer.h", True),
    ("learner/rollout/server.cc", "learner/learner.h", True),
    ("learner/newroom/a.cc", "learner/algo/loss.h", True),
    ("actor/engine/cuda/runner.cc", "actor/actor.h", True),
    ("common/model/folder/config.cc", "common/model/model.h", True),
    ("common/model/layer.cc", "common/model/cuda/weights.h", True),
    ("common/model/cuda/weights.h", "common/model/cpu/weights.h", True),
    ("common/ops/backend.h", "common/ops/cpu/attention.h", True),
    ("common/ops/cpu/linear.cc", "common/ops/cuda/linear.h", True),
    ("common/tokenizer/tokenizer.cc", "common/tokenizer/jinja/jinja.h", True),
    ("common/tokenizer/jinja/parser.cc", "common/tokenizer/chat/chat_template.h", True),
    ("tools/batch/score.cc", "tools/job/train_job.h", True),
    ("tools/report/report.cc", "tools/job/train_job.h", True),
    ("tools/top/source.cc", "tools/study/runs.h", True),
    ("tools/job/train_job.cc", "tools/cmd.h", True),
    ("common/tokenizer/tokenizer.h", "common/data/types.h", False),
    ("learner/train/trainer.cc", "learner/algo/loss.h", False),
    ("learner/learner.cc", "learner/records/run_recorder.h", False),
    ("actor/engine/runner.cc", "actor/engine/cuda/runner.h", False),
    ("actor/engine/cuda/runner.h", "actor/engine/runner.h", False),
    ("common/ops/cuda/linear.cc", "common/ops/cpu/linear.h", False),
    ("tools/job/train_job.cc", "tools/report/report.h", False),
    ("tools/cmd_top.cc", "tools/top/source.h", False),
    ("tests/tools/job/a_test.cc", "tests/e2e/b.h", False),
    ("common/model/decoder_lm.h", "ATen/core/Tensor.h", False),
    ("common/rollout/grpc_port.cc", "grpcpp/grpcpp.h", False),
    ("common/data/codec.cc", "proto/trajectory.pb.h", False),
    ("common/data/codec.h", "proto/trajectory.pb.h", True),
    ("learner/train/trainer_options.h", "proto/config.pb.h", True),
    ("learner/train/trainer_options.cc", "proto/config.pb.h", False),
    ("common/tasks/task.cc", "proto/config.pb.h", False),
    ("common/ops/linear_cuda.cc", "cuda_runtime.h", False),
    ("learner/main.cc", "common/weights/publisher.h", False),
    ("tests/actor/a_test.cc", "actor/engine/engine.h", False),
]


SEEDED_CIRCLES = [  # file to what it includes, how many circles
    ({"common/model/a.h": "common/model/b.h", "common/model/b.h": "common/model/a.h"}, 1),
    ({"learner/train/a.h": "learner/train/b.h", "learner/train/b.h": "learner/train/c.h", "learner/train/c.h": "learner/train/a.h"}, 1),
    ({"tools/a.h": "tools/a.h"}, 1),
    ({"tests/e2e/a.h": "tests/tools/b.h", "tests/tools/c.h": "tests/e2e/d.h", "tests/tools/b.h": "", "tests/e2e/d.h": ""}, 1),
    ({"actor/engine/a.cc": "actor/engine/cuda/b.h", "actor/engine/cuda/b.h": "actor/engine/c.h", "actor/engine/c.h": ""}, 0),
    ({"tests/e2e/a.h": "tests/tools/b.h", "tests/tools/b.h": "tests/tools/c.h", "tests/tools/c.h": ""}, 0),
]


def self_test() -> int:
    wrong = []
    for path, include, breaks in SEEDED:
        found = violations(path, f'// a comment\n#include <vector>\n  #  include "{include}"\n')
        if bool(found) != breaks or (breaks and not found[0].startswith(f"{path}:3:")):
            wrong.append(f'{path} including "{include}": expected {"a violation" if breaks else "none"}, got {found}')
    for uses, count in SEEDED_CIRCLES:
        found = circle_violations({path: f'#include "{include}"\n' for path, include in uses.items()})
        if len(found) != count:
            wrong.append(f"{uses}: expected {count} circles, got {found}")
    for line in wrong:
        print(line)
    cases = len(SEEDED) + len(SEEDED_CIRCLES)
    print(f"layers: {cases - len(wrong)} of {cases} seeded cases judged rightly")
    return 1 if wrong else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--self-test"]:
        sys.exit(self_test())
    if sys.argv[1:]:
        sys.exit(f"unknown arguments {sys.argv[1:]}; the only one is --self-test")
    sys.exit(check_tree(pathlib.Path(__file__).resolve().parents[2]))
