"""The header of a GGUF file: key-values, then one line a tensor. Tensor data is never read.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; what is refused as llama.cpp's reader refuses it
(https://github.com/ggml-org/llama.cpp/blob/master/ggml/src/gguf.cpp, read 2026-11-24): version 1, big-endian files, arrays
in arrays, data that is not laid out in the tensors' order with padding between them.
"""

from __future__ import annotations

import struct
from typing import Any

from provision.fit.source import HEADER_LIMIT_BYTES, TENSORS_LIMIT, Source, name_of, shown
from provision.record import record

Row = tuple[str, str, tuple[int, ...], int]  # name, type, shape (rows first, as in safetensors), bytes

# number in the file: name, elements of a block, bytes of a block.
# Source: GGML_QUANT_SIZES and GGMLQuantizationType of the package gguf 0.19.0, 2026-11-24; tests compare them. Numbers that
# are not here (4, 5, 31 to 33, 36 to 38) were withdrawn.
TYPES: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 40),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
}
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_ALIGNMENT = "general.alignment"
_DEFAULT_ALIGNMENT = 32
_LARGEST_ALIGNMENT = 1 << 20
_KEYS = 1 << 16
_KEPT_ELEMENTS = 4096  # one a layer; a longer list is a tokenizer's
_KEPT_BYTES = 4096  # of a string; a longer one is a chat template
_DIMENSIONS = 4
_ELEMENTS = 1 << 63
_CHUNK_BYTES = 1 << 20


@record
class Header:
    """``values``: the key-values, without long strings and lists; ``lengths``: how many elements each list has."""

    rows: tuple[Row, ...]
    values: dict[str, Any]
    lengths: dict[str, int]


def read(source: Source) -> Header:
    """The whole header. Raises ``UsageError``: file, what is wrong, what was expected."""
    try:
        return _Reader(source).header()
    except ValueError as error:
        raise source.wrong(f"header: {error}") from None


class _Reader:
    """A place in the file, and what was read of it so far."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.limit = min(source.size, HEADER_LIMIT_BYTES)
        self.raw = bytearray()
        self.place = 0

    def need(self, length: int, what: str) -> int:
        """Make sure that ``length`` bytes follow; the place where they begin, which is moved behind them."""
        end = self.place + length
        if end > len(self.raw):
            if end > self.source.size:
                raise ValueError(f"{what} at byte {self.place} goes beyond the end of the file at byte {self.limit}")
            if end > self.limit:
                raise ValueError(
                    f"{what} at byte {self.place} goes beyond the {self.limit} bytes that a header may have"
                )
            more = min(max(end, len(self.raw) + _CHUNK_BYTES), self.limit) - len(self.raw)
            self.raw += self.source.read(len(self.raw), more)
        begin, self.place = self.place, end
        return begin

    def number(self, letter: str, what: str) -> Any:
        form = struct.Struct(f"<{letter}")
        return form.unpack_from(self.raw, self.need(form.size, what))[0]

    def text(self, what: str) -> bytes:
        length = self.number("Q", what)
        begin = self.need(length, f"{what} of {length} bytes")
        return bytes(self.raw[begin : begin + length])

    def header(self) -> Header:
        tensors, keys = self.start()
        values: dict[str, Any] = {}
        lengths: dict[str, int] = {}
        seen: set[str] = set()
        for _ in range(keys):
            key = name_of(self.text("a key"))
            if key in seen:
                raise ValueError(f"{shown(key)} is there twice")
            seen.add(key)
            self.value(key, values, lengths)
        alignment = values.get(_ALIGNMENT, _DEFAULT_ALIGNMENT)
        if type(alignment) is not int or not 0 < alignment <= _LARGEST_ALIGNMENT or alignment & (alignment - 1):
            raise ValueError(f"{_ALIGNMENT} is {shown(str(alignment))}; expected a power of two")
        return Header(rows=tuple(self.rows(tensors, alignment)), values=values, lengths=lengths)

    def start(self) -> tuple[int, int]:
        """Magic, version and counts: how many tensors and key-values there are."""
        if self.source.size < 24:
            raise ValueError(f"{self.source.size} bytes; a GGUF file has at least 24")
        begin = self.need(4, "the magic")
        magic = bytes(self.raw[begin : self.place])
        if magic != b"GGUF":
            raise ValueError(f"it begins with {shown(repr(magic)[1:])}; expected 'GGUF'")
        version = self.number("I", "the version")
        if version & 0xFFFF == 0 and version:
            raise ValueError("a big-endian file; expected a little-endian one")
        if version not in (2, 3):
            raise ValueError(f"version {version} of the format; expected 2 or 3")
        tensors, keys = self.number("Q", "the count of tensors"), self.number("Q", "the count of keys")
        if tensors > TENSORS_LIMIT:
            raise ValueError(f"{tensors} tensors; expected at most {TENSORS_LIMIT}")
        if keys > _KEYS:
            raise ValueError(f"{keys} keys; expected at most {_KEYS}")
        return tensors, keys

    def value(self, key: str, values: dict[str, Any], lengths: dict[str, int]) -> None:
        kind = self.number("I", f"the type of {shown(key)}")
        if kind == _STRING:
            text = self.text(f"the value of {shown(key)}")
            if len(text) <= _KEPT_BYTES:
                values[key] = text.decode(errors="replace")
        elif kind in _SCALARS:
            values[key] = self.number(_SCALARS[kind], f"the value of {shown(key)}")
        elif kind == _ARRAY:
            self.array(key, values, lengths)
        else:
            raise ValueError(f"{shown(key)} has a value of type {kind}; expected one from 0 to 12")

    def array(self, key: str, values: dict[str, Any], lengths: dict[str, int]) -> None:
        what = f"the list {shown(key)}"
        kind, count = self.number("I", what), self.number("Q", what)
        lengths[key] = count
        if kind == _STRING:
            self.strings(what, count)
        elif kind in _SCALARS:
            form = _SCALARS[kind]
            begin = self.need(count * struct.calcsize(f"<{form}"), f"{what} of {count} elements")
            if count <= _KEPT_ELEMENTS:
                values[key] = list(struct.unpack_from(f"<{count}{form}", self.raw, begin))
        else:
            kinds = "another list" if kind == _ARRAY else f"elements of type {kind}"
            raise ValueError(f"{what} holds {kinds}; expected numbers, booleans or strings")

    def strings(self, what: str, count: int) -> None:
        """Go over a tokenizer's words: half a million of them, so without a call for each."""
        if count * 8 > self.limit - self.place:
            raise ValueError(f"{what} has {count} strings, more than there is room for")
        length_at, raw, place = struct.Struct("<Q").unpack_from, self.raw, self.place
        for _ in range(count):
            if place + 8 > len(raw):
                self.place = place
                self.need(8, what)
            (length,) = length_at(raw, place)
            place += 8 + length
            if place > self.limit:
                self.place = place - length
                self.need(length, f"a string of {length} bytes in {what}")
        self.place = place

    def rows(self, count: int, alignment: int) -> list[Row]:
        """The tensors, in the order of their data."""
        found: list[Row] = []
        names: set[str] = set()
        offset = padded = 0
        for _ in range(count):
            name = name_of(self.text("a tensor's name"))
            what = f"tensor {shown(name)}"
            if name in names:
                raise ValueError(f"{what} is there twice")
            names.add(name)
            dimensions = self.number("I", what)
            if dimensions > _DIMENSIONS:
                raise ValueError(f"{what} has {dimensions} dimensions; expected at most {_DIMENSIONS}")
            sizes = tuple(self.number("Q", what) for _ in range(dimensions))
            row = _row(what, name, sizes, self.number("I", what))
            begins = self.number("Q", what)
            if begins != padded:
                raise ValueError(
                    f"{what} begins at byte {begins} of the data; expected {padded}, behind the tensor before it"
                )
            offset = padded + row[3]
            padded = _up(offset, alignment)
            found.append(row)
        data = _up(self.place, alignment)
        if found and data + offset > self.source.size:
            raise ValueError(
                f"its tensors end at byte {data + offset} of a file of {self.source.size}; the file is cut"
            )
        return found


def _row(what: str, name: str, sizes: tuple[int, ...], kind: int) -> Row:
    if kind not in TYPES:
        raise ValueError(f"{what} has ggml type {kind}; expected one of {', '.join(t[0] for t in TYPES.values())}")
    label, block, size = TYPES[kind]
    elements = 1
    for each in sizes:
        elements *= each
    if elements >= _ELEMENTS or any(each >= _ELEMENTS for each in sizes):
        raise ValueError(
            f"{what} has the dimensions {shown(' x '.join(map(str, sizes)))}; expected fewer than 2^63 elements"
        )
    if (sizes[0] if sizes else 1) % block:
        raise ValueError(f"{what} has rows of {sizes[0] if sizes else 1} elements; {label} needs a multiple of {block}")
    return name, label, tuple(reversed(sizes)), elements // block * size


def _up(place: int, alignment: int) -> int:
    return (place + alignment - 1) // alignment * alignment
