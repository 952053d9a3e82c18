"""Fuzz the reader of safetensors headers: any bytes give tensors that fill the file, or one UsageError of one line, in 2 s.

usage: .venv-fuzz/bin/python tests/fuzz/safetensors.py [-runs=500000]

The first byte chooses: even, the rest is a file; odd, the rest is a header, to which the right length and room for its data
are added, so that the fuzzer need not find them.
"""

from __future__ import annotations

import re
import struct

import atheris
import seeds

with atheris.instrument_imports(include=["provision.fit"]):
    from provision.errors import UsageError
    from provision.fit import safetensors
    from provision.fit.source import Source

END = re.compile(rb'"data_offsets": ?\[\d{1,9}, ?(\d{1,9})\]')


def one(data: bytes) -> None:
    """One execution."""
    content, room = data[1:], 0
    if data[:1] and data[0] % 2:
        room = max((int(end) for end in END.findall(content)), default=0)
        content = struct.pack("<Q", len(content)) + content

    def at(offset: int, length: int) -> bytes:
        if length > len(content):
            raise AssertionError("more is asked for than the header has")
        return content[offset : offset + length]

    source = Source("fuzzed", len(content) + room, at)
    try:
        rows = safetensors.read(source)
    except UsageError as error:
        if not error.message.isprintable() or not error.message.startswith("fuzzed: ") or len(error.message) > 1000:
            raise AssertionError("an error is one short line that names its file") from error
        return
    header = struct.unpack("<Q", content[:8])[0]
    if sum(size for *_, size in rows) != source.size - 8 - header:
        raise AssertionError("the tensors do not fill the file")
    if len({name for name, *_ in rows}) != len(rows) or not all(name.isprintable() for name, *_ in rows):
        raise AssertionError("a name is there twice, or cannot be printed")


if __name__ == "__main__":
    from tests.fit import build

    two = {
        "__metadata__": {"format": "pt"},
        "a": build.tensor("F32", (2, 3), 0, 24),
        "b": build.tensor("F4", (2,), 24, 25),
    }
    spaced = (
        b'{"b": {"shape": [2], "data_offsets": [0, 1], "dtype": "F4"}, '
        b'"\\u00e9": {"dtype": "BF16", "shape": [], "data_offsets": [1, 3]}}'
    )
    headers = [
        build.compact(two),
        spaced,
        b"{}",
        *(build.compact({"a": build.tensor(k, (8,), 0, 8)}) for k in safetensors.DTYPES),
    ]
    start = [b"\1" + header for header in headers] + [b"\0" + build.safetensors(header, 25) for header in headers]
    atheris.Setup(seeds.options(start), one)
    atheris.Fuzz()
