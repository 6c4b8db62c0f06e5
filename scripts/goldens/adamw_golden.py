#!/usr/bin/env python3
"""Writes tests/goldens/train/adamw.json: steps of torch.optim.AdamW with gradient clipping, in float32.

Made with torch 2.11.0. A matrix that decays and a vector that does not, as two parameter groups.
"""
import json
import pathlib

import torch

SHAPES = {"matrix": [3, 7], "vector": [9]}
OPTIONS = {"lr": 1e-2, "beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.1, "max_grad_norm": 1.0}
STEPS = 12


def main():
    generator = torch.Generator().manual_seed(5)
    start = {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
    parameters = {name: torch.nn.Parameter(value.clone()) for name, value in start.items()}
    optimizer = torch.optim.AdamW(
        [
            {"params": [parameters["matrix"]], "weight_decay": OPTIONS["weight_decay"]},
            {"params": [parameters["vector"]], "weight_decay": 0.0},
        ],
        lr=OPTIONS["lr"], betas=(OPTIONS["beta1"], OPTIONS["beta2"]), eps=OPTIONS["eps"])
    steps = []
    for step in range(STEPS):
        gradients = {}
        for name, parameter in parameters.items():
            # Some steps are clipped and some are not.
            parameter.grad = torch.randn(SHAPES[name], generator=generator) * (0.02 if step % 3 == 0 else 0.7)
            gradients[name] = parameter.grad.flatten().tolist()
        norm = torch.nn.utils.clip_grad_norm_(list(parameters.values()), OPTIONS["max_grad_norm"])
        optimizer.step()
        steps.append({
            "gradients": gradients,
            "norm": norm.item(),
            "after": {name: parameter.detach().flatten().tolist() for name, parameter in parameters.items()},
        })
    golden = {"torch": torch.__version__, "options": OPTIONS, "shapes": SHAPES,
              "start": {name: value.flatten().tolist() for name, value in start.items()}, "steps": steps}
    path = pathlib.Path(__file__).resolve().parents[2] / "tests/goldens/train/adamw.json"
    path.write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
