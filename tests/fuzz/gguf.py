"""Fuzz the reader of GGUF headers: any bytes give tensors that lie in the file, or one UsageError of one line, in 2 s.

usage: .venv-fuzz/bin/python tests/fuzz/gguf.py [-runs=500000]

The first byte chooses how much room for data follows the bytes: none, or 1 MiB. The reader is never given more than the bytes.
"""

from __future__ import annotations

import json

import atheris
import seeds

with atheris.instrument_imports(include=["provision.fit"]):
    from provision.errors import UsageError
    from provision.fit import gguf, gguf_names
    from provision.fit.source import Source


def one(data: bytes) -> None:
    """One execution."""
    content = data[1:]
    room = (1 << 20) if data[:1] and data[0] % 2 else 0

    def at(offset: int, length: int) -> bytes:
        if offset + length > len(content) + room:
            raise AssertionError("more is asked for than the file has")
        return content[offset : offset + length].ljust(length, b"\0")

    source = Source("fuzzed", len(content) + room, at)
    try:
        header = gguf.read(source)
    except UsageError as error:
        if not error.message.isprintable() or not error.message.startswith("fuzzed: ") or len(error.message) > 1000:
            raise AssertionError("an error is one short line that names its file") from error
        return
    if sum(size for *_, size in header.rows) > source.size:
        raise AssertionError("the tensors are more than the file")
    if len({name for name, *_ in header.rows}) != len(header.rows):
        raise AssertionError("a name is there twice")
    json.dumps(gguf_names.config(header))


if __name__ == "__main__":
    from tests.fit import build

    keys = {
        "general.architecture": (8, "deepseek2"),
        "deepseek2.block_count": (4, 3),
        "deepseek2.attention.kv_lora_rank": (4, 64),
        "deepseek2.attention.key_length": (2, 96),
        "deepseek2.rope.dimension_count": (10, 32),
        "deepseek2.attention.head_count_kv": (9, (5, [1, 2])),
        "tokenizer.ggml.tokens": (9, (8, ["a", "é", ""])),
        "general.alignment": (4, 32),
    }
    files = [build.gguf({}), build.gguf(keys), build.gguf(keys, [("a", "Q4_K", (256, 2)), ("b", "F32", ())])]
    files += [build.gguf({"a": (kind, 1)}, [("a", "I8", (3,))]) for kind in build.NUMBERS]
    files += [build.gguf({}, [("a", label, (block, 2))]) for label, (_, block, _) in build.KINDS.items()]
    atheris.Setup(seeds.options([bytes([n]) + file for n in (0, 1) for file in files]), one)
    atheris.Fuzz()
