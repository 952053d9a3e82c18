"""Bytes of checkpoints' headers, written by hand from the formats' descriptions: what a test breaks on purpose."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any

from provision.fit.gguf import TYPES

NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
KINDS = {name: (number, block, size) for number, (name, block, size) in TYPES.items()}


def tensor(dtype: str, shape: Sequence[int], begin: int, end: int) -> dict[str, Any]:
    """A tensor's object in a safetensors header."""
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def compact(header: Any) -> bytes:
    """As the safetensors package spells it."""
    return json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()


def safetensors(header: Any, data: int = 0) -> bytes:
    """A file with this header (bytes as they are, anything else as JSON) and so many bytes of data."""
    raw = header if isinstance(header, bytes) else compact(header)
    return struct.pack("<Q", len(raw)) + raw + bytes(data)


def shard(*names: str) -> bytes:
    """A good file with one tensor of 2 x 3 F32 (24 bytes) a name."""
    header = {name: tensor("F32", (2, 3), 24 * place, 24 * place + 24) for place, name in enumerate(names)}
    return safetensors(header, 24 * len(names))


def text(content: str | bytes) -> bytes:
    """A GGUF string."""
    raw = content.encode() if isinstance(content, str) else content
    return struct.pack("<Q", len(raw)) + raw


def value(kind: int, content: Any) -> bytes:
    """A GGUF value with its type; for a list (9) content is (element type, elements)."""
    if kind == 9:
        of, elements = content
        written = b"".join(text(one) if of == 8 else struct.pack(f"<{NUMBERS[of]}", one) for one in elements)
        return struct.pack("<IIQ", 9, of, len(elements)) + written
    return struct.pack("<I", kind) + (text(content) if kind == 8 else struct.pack(f"<{NUMBERS[kind]}", content))


def info(name: str | bytes, kind: int, sizes: Sequence[int], offset: int) -> bytes:
    """A tensor's line in a GGUF header; ``sizes`` columns first, as the file has them."""
    return text(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, offset)


def start(tensors: int, keys: int, version: int = 3, magic: bytes = b"GGUF") -> bytes:
    return magic + struct.pack("<IQQ", version, tensors, keys)


def up(place: int, alignment: int = 32) -> int:
    return -(-place // alignment) * alignment


def gguf(
    keys: dict[str, tuple[int, Any]], tensors: Sequence[tuple[str, str, Sequence[int]]] = (), alignment: int = 32
) -> bytes:
    """A good file: key to (type, value); tensors as (name, type's name, sizes columns first)."""
    head = start(len(tensors), len(keys)) + b"".join(text(key) + value(*said) for key, said in keys.items())
    offset = end = 0
    for name, label, sizes in tensors:
        number, block, size = KINDS[label]
        head += info(name, number, sizes, offset)
        elements = 1
        for each in sizes:
            elements *= each
        end = offset + elements // block * size
        offset = up(end, alignment)
    return head + bytes(up(len(head), alignment) - len(head) + end)
