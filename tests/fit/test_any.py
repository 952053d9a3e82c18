"""Any header: tensors that fill the file, or one clear error, never a traceback (tests/fuzz does the same for longer)."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provision.errors import UsageError
from provision.fit import gguf, gguf_names, index, safetensors
from provision.fit.source import Source
from tests.fit import build

NAMES = st.text(min_size=1, max_size=8) | st.sampled_from(["a", "b", "__metadata__"])
NUMBERS = st.integers(0, 40) | st.sampled_from([-1, 2**63, 2**64 - 1, 1.5, True, None, "1"])
SIZES = st.lists(NUMBERS, max_size=5)
ENTRIES = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from([*safetensors.DTYPES, "F3", 1]),
        "shape": SIZES,
        "data_offsets": st.lists(NUMBERS, min_size=2, max_size=2),
    }
)
GOOD = build.gguf(
    {"general.architecture": (8, "llama"), "llama.x": (9, (8, ["a", "é"])), "llama.y": (9, (5, [1, 2]))},
    [("a", "Q4_0", (32, 2)), ("b", "F32", ())],
)


def source(content: bytes, room: int = 0) -> Source:
    return Source("any", len(content) + room, lambda at, length: content[at : at + length].ljust(length, b"\0"))


def read(reader: Callable[[Source], Any], content: bytes, room: int = 0) -> Any:
    """What the reader gives, or None after an error of one line."""
    try:
        return reader(source(content, room))
    except UsageError as error:
        assert error.message.isprintable() and error.message.startswith("any: ") and len(error.message) < 1000
        return None


@given(st.binary(max_size=300))
def test_any_bytes(content: bytes) -> None:
    for data in (content, struct.pack("<Q", len(content)) + content, b"GGUF\3\0\0\0" + content):
        read(safetensors.read, data)
        read(gguf.read, data)
    try:
        index.read(content)
    except ValueError as error:
        assert str(error).isprintable()


@given(st.dictionaries(NAMES, ENTRIES | st.dictionaries(NAMES, NAMES), max_size=4), st.integers(0, 80), st.booleans())
def test_any_safetensors_header(header: dict[str, Any], room: int, spaced: bool) -> None:
    raw = (
        json.dumps(header).encode()
        if spaced
        else build.compact(header)
        if _whole(header)
        else json.dumps(header).encode()
    )
    rows = read(safetensors.read, struct.pack("<Q", len(raw)) + raw, room)
    if rows is not None:
        assert sum(size for *_, size in rows) == room
        assert {name for name, *_ in rows} == header.keys() - {"__metadata__"}


def _whole(header: Any) -> bool:
    try:
        build.compact(header)
    except UnicodeEncodeError:  # half a surrogate pair is written as an escape only
        return False
    return True


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 100)), min_size=1, max_size=6))
def test_safetensors_as_they_are_written_are_read(kinds: list[tuple[int, int]]) -> None:
    header, place = {}, 0
    for number, (kind, size) in enumerate(kinds):
        dtype = sorted(safetensors.DTYPES)[kind]
        length = size * 8 * safetensors.DTYPES[dtype] // 8
        header[f"t{number}"] = build.tensor(dtype, (8, size), place, place + length)
        place += length
    rows = safetensors.read(source(build.safetensors(header), place))
    assert [(n, d, list(s), size) for n, d, s, size in rows] == [
        (n, e["dtype"], e["shape"], e["data_offsets"][1] - e["data_offsets"][0]) for n, e in header.items()
    ]


@given(
    st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.binary(min_size=1, max_size=8)), max_size=3),
    st.integers(0, 99),
)
def test_a_good_gguf_with_anything_written_over_it(changes: list[tuple[int, bytes]], room: int) -> None:
    content = GOOD
    for place, over in changes:
        content = (content[:place] + over + content[place + len(over) :])[: len(GOOD)]
    header = read(gguf.read, content, room)
    if header is not None:
        assert sum(size for *_, size in header.rows) <= len(content) + room
        json.dumps(gguf_names.config(header))


@pytest.mark.parametrize("length", range(len(GOOD)))
def test_a_gguf_cut_anywhere_is_said_to_be_cut(length: int) -> None:
    assert read(gguf.read, GOOD[:length]) is None
