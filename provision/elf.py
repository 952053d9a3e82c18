"""What a shared library asks for and offers: its dynamic section, read without loading it. Standard library only, Python 3.10.

Source: System V ABI, chapter 5 (dynamic section); "ELF Symbol Versioning" (Linux Standard Base, Core, 10.7).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from typing import Any

_PT_LOAD, _PT_DYNAMIC = 1, 2
_NEEDED, _STRTAB, _SONAME, _RPATH, _RUNPATH = 1, 5, 14, 15, 29
_VERDEF, _VERDEFNUM, _VERNEED, _VERNEEDNUM = 0x6FFFFFFC, 0x6FFFFFFD, 0x6FFFFFFE, 0x6FFFFFFF
_LIMIT_BYTES = 1 << 20  # no header or dynamic section comes near
_NAME_BYTES = 8192  # a search path of torch's CUDA build has 18 folders
_MOST = 4096  # entries of any list: more is not a library but garbage

Read = Callable[[int, int], bytes]


class NotElf(ValueError):
    """Not a little-endian 64-bit ELF file, or one whose tables lead nowhere."""


def read(path: str) -> dict[str, Any]:
    """``needed``, ``soname``, ``rpath``, ``runpath``, ``wants`` (library → versions) and ``offers`` (versions) of a library.

    Raises ``OSError`` where it cannot be read and ``NotElf`` where it is something else.
    """
    with open(path, "rb", buffering=0) as file:

        def at(offset: int, length: int) -> bytes:
            if not 0 <= length <= _LIMIT_BYTES or not 0 <= offset < 1 << 62:
                raise NotElf("its tables lead nowhere")
            return os.pread(file.fileno(), length, offset)

        try:
            return parse(at)
        except (struct.error, LookupError, OverflowError, OSError):
            raise NotElf("its tables lead nowhere") from None


def parse(at: Read) -> dict[str, Any]:
    """The same from any reader of (offset, length)."""
    head = at(0, 64)
    if head[:6] != b"\x7fELF\x02\x01":
        raise NotElf("not a 64-bit little-endian ELF file")
    start, size, count = struct.unpack_from("<Q", head, 32)[0], *struct.unpack_from("<HH", head, 54)
    table = at(start, size * count)
    segments = [struct.unpack_from("<IIQQQQQQ", table, i * size) for i in range(count)]
    loads = [(s[3], s[2], s[5]) for s in segments if s[0] == _PT_LOAD]  # address, offset, bytes in the file
    dynamic = next((at(s[2], s[5]) for s in segments if s[0] == _PT_DYNAMIC), b"")
    entries: dict[int, list[int]] = {}
    for tag, value in struct.iter_unpack("<QQ", dynamic[: len(dynamic) // 16 * 16]):
        if tag == 0:
            break
        entries.setdefault(tag, []).append(value)

    def place(address: int) -> int:
        for first, offset, length in loads:
            if first <= address < first + length:
                return int(address - first + offset)
        raise NotElf("its tables lead nowhere")

    def text(offset: int) -> str:  # one name at a time: libtorch_cpu.so's table of names alone is 2.6 MB
        name, end, _ = at(place(entries[_STRTAB][0]) + offset, _NAME_BYTES).partition(b"\0")
        if not end:
            raise NotElf("a name in it does not end")
        return name.decode(errors="replace")

    def folders(tag: int) -> list[str]:
        return [folder for folder in text(entries[tag][0]).split(":") if folder] if tag in entries else []

    return {
        "needed": [text(value) for value in entries.get(_NEEDED, [])[:_MOST]],
        "soname": text(entries[_SONAME][0]) if _SONAME in entries else "",
        "rpath": folders(_RPATH),
        "runpath": folders(_RUNPATH),
        "wants": dict(_wants(at, place, text, entries)),
        "offers": list(_offers(at, place, text, entries)),
    }


def _wants(
    at: Read, place: Callable[[int], int], text: Callable[[int], str], entries: dict[int, list[int]]
) -> Iterator[tuple[str, list[str]]]:
    if _VERNEED not in entries:
        return
    offset = place(entries[_VERNEED][0])
    for _ in range(min(entries.get(_VERNEEDNUM, [0])[0], _MOST)):
        _, number, file, first, following = struct.unpack("<HHIII", at(offset, 16))
        versions, inner = [], offset + first
        for _ in range(min(number, _MOST)):
            _, _, _, name, step = struct.unpack("<IHHII", at(inner, 16))
            versions.append(text(name))
            inner += step
        yield text(file), sorted(versions)
        offset += following


def _offers(
    at: Read, place: Callable[[int], int], text: Callable[[int], str], entries: dict[int, list[int]]
) -> Iterator[str]:
    if _VERDEF not in entries:
        return
    offset = place(entries[_VERDEF][0])
    for _ in range(min(entries.get(_VERDEFNUM, [0])[0], _MOST)):
        _, _, _, _, _, first, following = struct.unpack("<HHHHIII", at(offset, 20))
        yield text(struct.unpack("<II", at(offset + first, 8))[0])
        offset += following
