"""The header of a safetensors file: eight bytes of length, then JSON. Tensor data is never read.

Source: https://github.com/huggingface/safetensors (README, "Format"); ``DTYPES`` and what is refused as the package
safetensors 0.8.0 answered on 2026-11-24. Stricter than the package: it keeps the last of two tensors with one name.
"""

from __future__ import annotations

import functools
import math
import re
from typing import Any

from provision.fit import members
from provision.fit.source import HEADER_LIMIT_BYTES, TENSORS_LIMIT, Source, name_of, shown

Row = tuple[str, str, tuple[int, ...], int]  # name, dtype, shape, bytes

DTYPES = {  # bits of an element
    "BOOL": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    **dict.fromkeys(("U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}
_ENTRY_BYTES = 4096  # of one tensor's object
_METADATA = 65536  # keys
_DIMENSIONS = 16
_ELEMENTS = 1 << 63
# A tensor and the comma behind it, as writers spell them: 100,000 in 0.22 s, one by one in 0.96 s (one run, 2026-11-24).
_NUMBER = rb"(?:0|[1-9][0-9]{0,18})"
_USUAL = re.compile(
    rb'"([ !#-\[\]-~]{1,1024})": ?\{"dtype": ?"([A-Z0-9_]{1,12})", ?'
    rb'"shape": ?\[(' + _NUMBER + rb"(?:, ?" + _NUMBER + rb"){0,15})?\], ?"
    rb'"data_offsets": ?\[(' + _NUMBER + rb"), ?(" + _NUMBER + rb')\]\}, ?(?=")'
)


def read(source: Source) -> list[Row]:
    """Every tensor of the file, as the header lists them. Raises ``UsageError``: file, what is wrong, what was expected."""
    if source.size < 8:
        raise source.wrong(f"{source.size} bytes; a safetensors file begins with 8 bytes of header length")
    length = int.from_bytes(source.read(0, 8), "little")
    if length > HEADER_LIMIT_BYTES:
        raise source.wrong(
            f"a header of {length} bytes; expected at most {HEADER_LIMIT_BYTES}: is this a safetensors file?"
        )
    if 8 + length > source.size:
        raise source.wrong(
            f"a header of {length} bytes in a file of {source.size}; the file is cut or no safetensors file"
        )
    try:
        rows, ranges = _parse(source.read(8, length))
        _cover(ranges, source.size - 8 - length)
    except ValueError as error:
        raise source.wrong(f"header: {error}") from None
    return rows


def _parse(raw: bytes) -> tuple[list[Row], list[tuple[int, int, str]]]:
    """The rows, and begin, end and name of every tensor's data."""
    rows: list[Row] = []
    ranges: list[tuple[int, int, str]] = []
    metadata = 0

    def usual(place: int) -> int:
        for _ in range(TENSORS_LIMIT - len(rows)):
            found = _USUAL.match(raw, place)
            if found is None:
                break
            name, dtype, shape, first, last = found.groups()
            label, sizes, size = _kind(dtype, shape)
            begin, end = int(first), int(last)
            if end - begin != size or name == b"__metadata__":  # the slow way says what is wrong
                break
            text = name.decode()
            rows.append((text, label, sizes, size))
            ranges.append((begin, end, text))
            place = found.end()
        return place

    def unusual(key: bytes, place: int) -> int:
        nonlocal metadata
        if key == b"__metadata__":
            metadata += 1
            return _metadata(raw, place)
        name = name_of(key)
        length = raw.find(b"}", place, place + _ENTRY_BYTES) + 1 - place  # no object lies in a tensor's
        entry, place = members.small(raw, place, length if length > 0 else _ENTRY_BYTES)
        dtype, shape, begin, end = _entry(name, entry)
        if len(rows) == TENSORS_LIMIT:
            raise ValueError(f"more than {TENSORS_LIMIT} tensors")
        bits = math.prod(shape) * DTYPES[dtype]
        if bits != (end - begin) * 8:
            takes = f"{dtype} of shape {_times(shape)} takes " + (f"{bits} bits" if bits % 8 else f"{bits // 8} bytes")
            raise ValueError(f"{shown(name)} has data_offsets {begin} to {end}; {takes}")
        rows.append((name, dtype, shape, end - begin))
        ranges.append((begin, end, name))
        return place

    place = members.walk(raw, 0, unusual, usual)
    if raw[place:].strip(b" \t\n\r"):
        raise ValueError(f"something follows the JSON object, from byte {place}")
    if metadata > 1:
        raise ValueError("__metadata__ is there twice")
    if len({row[0] for row in rows}) != len(rows):
        before = ""
        for name in sorted(row[0] for row in rows):
            if name == before:
                raise ValueError(f"{shown(name)} is there twice")
            before = name
    return rows, ranges


@functools.lru_cache(maxsize=4096)
def _kind(dtype: bytes, shape: bytes | None) -> tuple[str, tuple[int, ...], int]:
    """Name, shape and bytes of a tensor; -1 bytes where they are no whole number or the dtype is unknown."""
    label = dtype.decode()
    sizes = tuple(map(int, shape.split(b","))) if shape else ()
    bits = math.prod(sizes) * DTYPES.get(label, 0)
    return label, sizes, bits // 8 if label in DTYPES and bits % 8 == 0 else -1


def _metadata(raw: bytes, place: int) -> int:
    """Strings under strings; nothing of it is kept."""
    seen: set[bytes] = set()

    def value(key: bytes, place: int) -> int:
        if key in seen or len(seen) == _METADATA:
            raise ValueError(f"__metadata__ has a key twice or more than {_METADATA} keys")
        seen.add(key)
        return members.string(raw, place)[1]

    return members.walk(raw, place, value)


def _entry(name: str, entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    """dtype, shape, begin and end of a tensor's object."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{shown(name)}: expected an object with dtype, shape and data_offsets, nothing else")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"{shown(name)} has dtype {shown(str(dtype))}; expected one of {', '.join(DTYPES)}")
    if not isinstance(shape, list) or len(shape) > _DIMENSIONS or not all(map(_whole, shape)):
        raise ValueError(f"{shown(name)}: shape: expected a list of at most {_DIMENSIONS} whole numbers below 2^63")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_whole, offsets)):
        raise ValueError(f"{shown(name)}: data_offsets: expected two whole numbers below 2^63")
    return dtype, tuple(shape), offsets[0], offsets[1]


def _whole(number: Any) -> bool:
    return type(number) is int and 0 <= number < _ELEMENTS


def _times(shape: tuple[int, ...]) -> str:
    return shown(" x ".join(map(str, shape))) or "a scalar"


def _cover(ranges: list[tuple[int, int, str]], room: int) -> None:
    """The tensors' data lies one behind the other, from 0 to the end of the file, without a hole and shared by none."""
    place = 0
    for begin, end, name in sorted(ranges):
        if end > room:
            raise ValueError(f"{shown(name)} ends at byte {end} of {room} bytes of data; the file is cut")
        if begin != place:
            lies = "shares bytes with" if begin < place else "leaves a hole behind"
            raise ValueError(f"{shown(name)} {lies} the tensor before it: it begins at byte {begin}; expected {place}")
        place = end
    if place != room:
        raise ValueError(f"the tensors end at byte {place} of {room} bytes of data; expected that they fill the file")
