#!/usr/bin/env python3
"""Checks who includes whom, as docs/ARCHITECTURE.md lays down.

    python3 scripts/check/layers.py [--self-test]

    proto <- common/base <- common/device <- {config, metrics, data, tokenizer, collective, ops} <- {model, rhythm, tasks, rollout}
          <- weights <- {actor | learner} <- {tools, tests, bench}

A file may include what stands left of it, its own component, and the few neighbours listed in PEERS. Besides:
gRPC only in grpc_* files, c10d and NCCL only in common/collective, CUDA only in *.cu and *_cuda.*, torch/torch.h
nowhere, generated protobuf only in codecs, grpc_* files, checkpoints and the users of config.
--self-test runs the rules on seeded violations; exit 0 = no violation (or every seeded one found).
"""

import pathlib
import re
import sys

LAYERS = [
    ["proto"],
    ["common/base"],
    ["common/device"],
    ["common/config", "common/metrics", "common/data", "common/tokenizer", "common/collective", "common/ops"],
    ["common/model", "common/rhythm", "common/tasks", "common/rollout"],
    ["common/weights"],
    ["actor", "learner"],
    ["tools", "tests", "bench"],
]
RANK = {component: rank for rank, layer in enumerate(LAYERS) for component in layer}
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


def layer_violation(path: str, include: str) -> str | None:
    user, used = component_of(path), component_of(include)
    if user is None or used is None or user == used:
        return None
    if user not in RANK or used not in RANK:
        unknown = user if user not in RANK else used
        return f"component {unknown} has no place in the layers"
    if RANK[used] < RANK[user] or (user, used) in PEERS:
        return None
    return f"{user} may not use {used}"


def kind_violation(path: str, include: str) -> str | None:
    """Headers that only certain files may include, wherever they stand."""
    name, component = path.rsplit("/", 1)[-1], component_of(path)
    in_grpc = "grpc" in name
    cuda_file = name.endswith((".cu", ".cuh")) or "_cuda." in name
    if include == "torch/torch.h":
        return "torch/torch.h costs 20 s per file: include the narrow header"
    if include.startswith(("grpc/", "grpcpp/", "grpc++/")) or include.endswith(".grpc.pb.h"):
        return None if in_grpc else "gRPC belongs in grpc_* files"
    if include.startswith(("torch/csrc/distributed/", "gloo/")) or include in ("nccl.h", "nccl_net.h"):
        in_place = component == "common/collective" or path.startswith("tests/collective/")
        return None if in_place else "c10d, Gloo and NCCL belong in common/collective"
    if include.startswith(("c10/cuda/", "ATen/cuda/", "cub/", "thrust/", "cuda/")) or re.match(r"cu(da|blas|fft)\w*\.h", include):
        return None if cuda_file else "CUDA belongs in *.cu and *_cuda.* files"
    if include.endswith(".pb.h"):
        allowed = include == "proto/config.pb.h" or in_grpc or "codec" in name or "checkpoint" in path
        return None if allowed else "generated protobuf belongs in codecs, grpc_* files and checkpoints"
    return None


def violations(path: str, text: str) -> list[str]:
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        for rule in (layer_violation, kind_violation):
            reason = rule(path, match.group(1))
            if reason:
                found.append(f'{path}:{number}: "{match.group(1)}": {reason}')
    return found


def check_tree(root: pathlib.Path) -> int:
    files = [p for top in sorted({c.split("/")[0] for c in RANK}) for p in sorted((root / top).rglob("*"))]
    files = [p for p in files if p.suffix in SUFFIXES]
    if not files:
        print(f"{root}: no source file found", file=sys.stderr)
        return 1
    found = [v for p in files for v in violations(p.relative_to(root).as_posix(), p.read_text(errors="replace"))]
    for violation in found:
        print(violation)
    print(f"layers: {len(files)} files, {len(found)} violations")
    return 1 if found else 0


SEEDED = [  # file, include, whether it breaks a rule
    ("common/base/file.cc", "common/data/types.h", True),
    ("common/model/a.cc", "common/weights/b.h", True),
    ("common/config/a.cc", "common/ops/b.h", True),
    ("common/base/file.cc", "common/device/devices.h", True),
    ("common/config/validate.cc", "common/device/device_spec.h", False),
    ("common/device/devices_none.cc", "cuda_runtime_api.h", True),
    ("common/device/devices_cuda.cc", "cuda_runtime_api.h", False),
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
    ("common/tokenizer/tokenizer.h", "common/data/types.h", False),
    ("common/model/cuda/decoder_weights_cuda.h", "ATen/core/Tensor.h", False),
    ("common/rollout/grpc_port.cc", "grpcpp/grpcpp.h", False),
    ("common/data/codec.cc", "proto/trajectory.pb.h", False),
    ("common/tasks/task.cc", "proto/config.pb.h", False),
    ("common/ops/linear_cuda.cc", "cuda_runtime.h", False),
    ("learner/main.cc", "common/weights/publisher.h", False),
    ("tests/actor/a_test.cc", "actor/engine/engine.h", False),
]


def self_test() -> int:
    wrong = []
    for path, include, breaks in SEEDED:
        found = violations(path, f'// a comment\n#include <vector>\n  #  include "{include}"\n')
        if bool(found) != breaks or (breaks and not found[0].startswith(f"{path}:3:")):
            wrong.append(f'{path} including "{include}": expected {"a violation" if breaks else "none"}, got {found}')
    for line in wrong:
        print(line)
    print(f"layers: {len(SEEDED) - len(wrong)} of {len(SEEDED)} seeded cases judged rightly")
    return 1 if wrong else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--self-test"]:
        sys.exit(self_test())
    if sys.argv[1:]:
        sys.exit(f"unknown arguments {sys.argv[1:]}; the only one is --self-test")
    sys.exit(check_tree(pathlib.Path(__file__).resolve().parents[2]))
