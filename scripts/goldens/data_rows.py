#!/usr/bin/env python3
"""Writes tests/goldens/data: small data sets in the shapes that people train on, each as JSON lines and as Parquet by several
writers, and files that a reader must refuse.

    python scripts/goldens/data_rows.py

The shapes are those of GSM8K, MATH, DAPO-Math-17k, Countdown-Tasks-3to4 and of chat messages; the rows are made up here. Needs
pyarrow 26.0.1, polars 2.1.0, duckdb 2.0.1 and fastparquet 2026.9.0: Arrow's own writer, and three that share no code with it.
"""

import json
import pathlib

import duckdb
import fastparquet
import polars
import pyarrow as pa
import pyarrow.parquet as pq

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/goldens/data"


def user(text: str) -> dict:
    return {"content": text, "role": "user"}


def shapes() -> dict[str, list[dict]]:
    numbers = range(1, 8)
    chats = [{"messages": [{"role": "system", "content": "Be brief."}, user(f"What is {i} + {i}?")], "answer": str(2 * i)} for i in numbers]
    chats.append({"messages": [user("1 + 1?"), {"role": "assistant", "content": "2"}, user("And once more?")], "answer": "3"})
    chats.append({"messages": [user("Größe? 😀\n\"quoted\"\t\\")], "answer": "ja"})
    return {
        "gsm8k": [{"question": f"A box holds {i} eggs. How many are in 6 boxes?",
                   "answer": f"Each holds {i}: <<6*{i}={6 * i}>>{6 * i}.\n#### {6 * i}"} for i in numbers],
        "math": [{"problem": f"Find $x$ with $x - {i} = 0$.", "level": "Level 1", "type": "Algebra",
                  "solution": f"Clearly $\\boxed{{{i}}}$."} for i in numbers],
        "dapo": [{"data_source": "math_dapo", "prompt": [user(f"Solve for n: n = {i} * {i}")], "ability": "MATH",
                  "reward_model": {"ground_truth": str(i * i), "style": "rule-lighteval/MATH_v2"},
                  "extra_info": {"index": f"id-{i}"}} for i in numbers],
        "countdown": [{"target": 3 * i, "nums": [i, i + 1, i - 1]} for i in range(2, 9)],
        "chat": chats,
        "kinds": [{"question": f"q{i}", "answer": i - 2, "real": i / 4, "truth": i % 2 == 0, "many": [[i], []], "few": [],
                   "note": None if i % 3 else f"n{i}", "place": {"x": -i, "deep": {"y": [{"z": i}]}}} for i in numbers],
    }  # fmt: skip


def write_shape(name: str, rows: list[dict]) -> None:
    lines = OUT / f"{name}.jsonl"
    lines.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    table = pa.Table.from_pylist(rows)

    def path(writer: str) -> pathlib.Path:
        return OUT / f"{name}.{writer}.parquet"

    pq.write_table(table, path("arrow"), row_group_size=3)
    duckdb.from_arrow(table).query("rows", f"COPY (SELECT * FROM rows) TO '{path('duckdb')}' (FORMAT parquet, CODEC 'gzip')")
    polars.DataFrame(rows, infer_schema_length=None).write_parquet(path("polars"), compression="zstd")
    if name in ("gsm8k", "math"):
        fastparquet.write(str(path("fastparquet")), table.to_pandas(), row_group_offsets=3)
    if name == "kinds":
        small = {"answer": pa.int8(), "real": pa.float32()}
        narrow = pa.schema([field.with_type(small.get(field.name, field.type)) for field in table.schema])
        pq.write_table(table.cast(narrow), path("pages2"), data_page_version="2.0", compression="brotli", use_dictionary=False)
        texts = pa.schema([field.with_type(pa.dictionary(pa.int32(), pa.string())) if field.name in ("question", "note") else field
                           for field in table.schema])  # fmt: skip
        pq.write_table(table.cast(texts), path("dictionary"), compression="lz4")
        large = pa.schema([field.with_type(pa.large_string()) if field.type == pa.string() else field for field in table.schema])
        pq.write_table(table.cast(large), path("large"), compression="none", write_statistics=False)


def write_refused() -> None:
    def table(**columns) -> pa.Table:
        return pa.table(columns)

    def write(name: str, value: pa.Table, **options) -> None:
        pq.write_table(value, OUT / f"refused_{name}.parquet", write_statistics=False, **options)

    write("long_row", table(question=["short", "x" * (5 << 20)], answer=["1", "2"]), compression="zstd", compression_level=19)
    write("huge_page", table(question=["x" * (700 << 20)], answer=["1"]), compression="zstd", compression_level=19)
    write("binary", table(question=pa.array([b"\xff\xfe"], pa.binary()), answer=["1"]))
    write("time", table(question=["q"], answer=pa.array([1], pa.timestamp("us"))))
    write("number", table(question=[7], answer=["1"]))
    write("nothing", table(question=pa.array([], pa.string()), answer=pa.array([], pa.string())))
    write("null", table(question=["q", None], answer=["1", "2"]))
    # Text that is none: bytes, declared as a string.
    raw = pa.array([b"ok", b"\xff\xfe"], pa.binary())
    write("utf8", table(question=pa.Array.from_buffers(pa.string(), 2, raw.buffers()), answer=["1", "2"]))


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    for name, rows in shapes().items():
        write_shape(name, rows)
    write_refused()
    print(f"{sum(1 for _ in OUT.iterdir())} files in {OUT}")


if __name__ == "__main__":
    main()
