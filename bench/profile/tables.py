#!/usr/bin/env python3
"""Measures where the time of a decode step and of an update goes, and writes the tables of docs/PERFORMANCE.md.

    bench/profile/tables.py --machine E [--build build/release] [--lines FILE]

Runs cpu_profile_bench in float32, in bfloat16 where the CPU has such instructions, and for the quick start's policy: a quarter of an hour
on two cores. The lines go to bench/results/profile-DATE.jsonl; --lines makes the tables from such a file again. Every product below LOW
of its roof needs a sentence of WHY.
"""

import argparse
import datetime
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/PERFORMANCE.md"
BEGIN, END = "<!-- Made by bench/profile/tables.py: -->", "<!-- until here -->"
LOW = 0.7
ROWS = (1, 8, 32, 64, 256, 1024)
ACTOR, LEARNER = "quick start, actor", "quick start, learner"
GROUPS = {  # parts of a decode step, by columns of its table
    "products": ("product ",),
    "head": ("product 49152", "product 464"),
    "attention": ("attention",),
    "sampling": ("sampling",),
    "rows": ("norms", "activation", "rotation", "embedding", "copies", "sums"),
}
# Why a product is below LOW: what it is said of, and the sentence. Whatever none of these covers ends the script.
WHY = [
    (lambda x: x["rows"] == 1,
     "1 row: where a block of rows is one tile, only one of the next two panels is asked for ahead (`RunBlock` in "
     "`common/ops/cpu/kernels_gemm.inc`), and small weights are over before the hardware has seen the stream."),
    (lambda x: x["rows"] == 8,
     "8 rows: two tiles of four rows are eight chains of multiply-adds, just as many as the latency of two units needs, and at this height reading "
     "the weights takes about as long as multiplying: what of the two does not overlap adds up to a half."),
    (lambda x: x["dtype"] == "float32" and x["kernels"] == "avx2" and x["roof"] == "arithmetic",
     "32 rows and more, and both gradients, on AVX2: not the loop, which with the quick start's shapes (depth 128) comes to 0.75 to 0.89 in the same hour. "
     "At a chain of 256 a panel's 16 KiB, the tile's rows and what another process leaves share a first-level cache of 32 KiB; that this is the "
     "reason is a guess until it is measured on an idle machine (with AVX-512 it is at 0.9 of its roof on machine B)."),
]  # fmt: skip


def runs(threads: int, rounds: int) -> dict[str, list[str]]:
    """What is measured, by name."""
    types = ["float32"] + (["bfloat16"] if "avx512_bf16" in pathlib.Path("/proc/cpuinfo").read_text() else [])
    quick = ["--shape", "quickstart", "--contexts", "64", "--batches", "64"]
    return {dtype: ["--dtype", dtype, "--threads", str(threads), "--rounds", str(rounds)] for dtype in types} | {
        ACTOR: [*quick, "--parts", "decode", "--threads", "1", "--rounds", "101"],
        LEARNER: [*quick, "--parts", "update", "--threads", str(threads), "--rounds", "31"],
    }


def measure(build: pathlib.Path, machine: str, threads: int, rounds: int) -> pathlib.Path:
    today = datetime.date.today()
    out = ROOT / f"bench/results/profile-{today:%Y%m%d}.jsonl"
    with out.open("w") as file:
        for name, flags in runs(threads, rounds).items():
            load = os.getloadavg()[0]
            command = [build / "bin/cpu_profile_bench", *flags]
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, timeout=7200, check=True)
            for line in done.stdout.splitlines():
                one = {"run": name} | json.loads(line)
                if one["part"] == "roofs":
                    one |= {"machine": machine, "date": f"{today}", "load": [round(load, 1), round(os.getloadavg()[0], 1)]}
                file.write(json.dumps(one) + "\n")
    return out


def spread(figure: dict, scale: float, digits: int) -> str:
    low, middle, high = (f"{figure[key] * scale:,.{digits}f}" for key in ("min", "median", "max"))
    return f"{middle} [{low}–{high}]"


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(row)} |" for row in rows), ""]


def roofs(lines: list[dict], run: str) -> list[str]:
    (one,) = (line for line in lines if line["part"] == "roofs" and line["run"] == run)
    rows = [
        ["reading memory (512 MiB in huge pages), GB/s", spread(one["memory_bytes_per_s"], 1e-9, 1)],
        ["reading the third-level cache (12 MiB), GB/s", spread(one["cache_bytes_per_s"], 1e-9, 1)],
        [f"arithmetic of {run}, GFLOP/s", spread(one["operations_per_s"], 1e-9, 0)],
        ["handing a range to the threads and waiting for them, µs", spread(one["range_s"], 1e6, 2)],
        ["first touch of a page of 4 KiB, µs; of 2 MiB, µs", f"{spread(one['fault_4k_s'], 1e6, 2)}; {spread(one['fault_2m_s'], 1e6, 0)}"],
    ]
    return table(["roof", "median [range]"], rows)


def group_of(what: str) -> str:
    """A part's column; of several that fit the longest."""
    fits = [(len(start), name) for name, starts in GROUPS.items() for start in starts if what.startswith(start)]
    return max(fits)[1] if fits else "rows"


def decode(lines: list[dict], run: str) -> list[str]:
    cases: dict[tuple, list[dict]] = {}
    for line in lines:
        if line["part"] == "decode" and line["run"] == run:
            cases.setdefault((line["batch"], line["context"]), []).append(line)
    rows = []
    for (batch, context), parts in sorted(cases.items()):
        of = {line["what"]: line for line in parts}
        whole = of["whole"]["seconds"]
        timed = [line for line in parts if "roof_seconds" in line]
        row = [str(batch), f"{context:,}", spread(whole, 1e3, 1)]
        roof = sum(line["roof_seconds"] for line in timed)
        row.append(f"{roof / whole['median']:.2f}")
        for group in GROUPS:
            mine = [line for line in timed if group_of(line["what"]) == group]
            seconds = sum(line["seconds"]["median"] for line in mine)
            share = sum(line["roof_seconds"] for line in mine) / seconds
            row.append(f"{seconds * 1e3:,.2f}" + ("" if group == "rows" else f" ({share:.2f})"))
        idle = sum(line["idle_share"] * line["seconds"]["median"] for line in timed) / whole["median"]
        row += [f"{of['rest']['seconds']['median'] * 1e3:,.2f}", f"{idle:.0%}", f"{of['page faults']['count']['median']:.0f}"]
        rows.append(row)
    head = ["sequences", "tokens each", "step, ms", "roof / step", "layers' products", "head", "attention", "sampling", "norms, activation, copies",
            "between", "threads idle", "page faults"]  # fmt: skip
    return table(head, rows)


def update(lines: list[dict], run: str) -> list[str]:
    parts = [line for line in lines if line["part"] == "update" and line["run"] == run]
    of = {line["what"]: line for line in parts}
    whole = of["whole"]["seconds"]["median"]
    rows = []
    for line in sorted((line for line in parts if "roof_seconds" in line), key=lambda line: -line["seconds"]["median"]):
        seconds = line["seconds"]["median"]
        if seconds < 0.002 * whole:
            continue
        rows.append([line["what"], spread(line["seconds"], 1e3, 0), f"{seconds / whole:.1%}", line["roof"], f"{line['roof_seconds'] / seconds:.2f}",
                     f"{line['idle_share']:.0%}"])  # fmt: skip
    rows.append(["the rest", spread(of["rest"]["seconds"], 1e3, 0), f"{of['rest']['seconds']['median'] / whole:.1%}", "", "", ""])
    rows.append(["whole, " + f"{of['page faults']['count']['median']:.0f} page faults", spread(of["whole"]["seconds"], 1e3, 0), "", "", "", ""])
    return table(["part", "ms", "of the update", "roof", "roof / part", "threads idle"], rows)


def products(lines: list[dict], run: str) -> list[str]:
    kernels = next(line["kernels"] for line in lines if line["part"] == "about" and line["run"] == run)
    mine = [line | {"kernels": kernels} for line in lines if line["part"] == "product" and line["run"] == run]
    rows, needed = [], {}
    for model, name in dict.fromkeys((line["model"], line["product"]) for line in mine):
        shape = [line for line in mine if (line["model"], line["product"]) == (model, name)]
        row = [model, f"{name}, {shape[0]['columns']:,} x {shape[0]['depth']:,}"]
        for direction, place in (("forward", "memory"), ("forward", "cache"), ("input's gradient", "memory"), ("weight's gradient", "its inputs")):
            counts = ROWS if direction == "forward" else ROWS[-2:]
            cells = []
            for count in counts:
                found = [x for x in shape if (x["direction"], x["weights"], x["rows"]) == (direction, place, count)]
                cells.append(f"{found[0]['share']:.2f}" if found else "–")
                if found and found[0]["share"] < LOW:
                    reasons = [sentence for says, sentence in WHY if says(found[0])]
                    if not reasons:
                        sys.exit(f"nothing says why {json.dumps(found[0])} is below {LOW}")
                    needed[reasons[0]] = True
            row.append(" ".join(cells) if any(cell != "–" for cell in cells) else "–")
        rows.append(row)
    counts = " ".join(str(count) for count in ROWS)
    head = ["model", "product", f"weights from memory, {counts} rows", "in the cache, the same rows", "input's gradient, 256 1024 rows", "weight's gradient, 256 1024"]
    return table(head, rows) + [f"- {sentence}" for sentence in needed] + [""]


def section(lines: list[dict]) -> str:
    out = []
    for about in (line for line in lines if line["part"] == "about"):
        run = about["run"]
        (of,) = (line for line in lines if line["part"] == "roofs" and line["run"] == run)
        out += [f"### Where the time goes: {run}", "",
                f"Machine {of['machine']}, {of['date']}, load {of['load'][0]} before and {of['load'][1]} after; kernels of {about['kernels']}, "
                f"threads: {about['threads']}, medians of {about['rounds']} rounds. `python3 bench/profile/tables.py`.", ""]  # fmt: skip
        if run not in (ACTOR, LEARNER):
            out += [*roofs(lines, run), "Products alone, roof / time for each number of rows:", "", *products(lines, run)]
        if run != LEARNER:
            out += ["A decode step; in brackets roof / part:", "", *decode(lines, run)]
        if run != ACTOR:
            out += ["An update, 1,024 tokens trained in 1,087 rows:", "", *update(lines, run)]
    return "\n".join(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machine", default="?", help="its letter in docs/PERFORMANCE.md")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--threads", type=int, default=2, help="1: by the time the thread has a core, for a machine that others use too")
    parser.add_argument("--rounds", type=int, default=9, help="of which medians are taken")
    parser.add_argument("--lines", type=pathlib.Path, help="what was measured; nothing is measured then")
    args = parser.parse_args()
    source = args.lines or measure(args.build.resolve(), args.machine, args.threads, args.rounds)
    lines = [json.loads(line) for line in source.read_text().splitlines()]
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    PAGE.write_text(before + BEGIN + "\n\n" + section(lines) + END + rest.split(END)[1])
    print(f"{source}: tables written into {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
