"""The archive compared with the one that its manifest describes. Nothing in it is followed, guessed or skipped.

What stands where a member's header should is only looked at closer to say in a message what it is.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from typing import BinaryIO

from . import layout, manifest
from .errors import Misused, Refused, shown
from .manifest import Manifest, Member

CHUNK_BYTES = 1 << 20
_KINDS = {
    **{b"1": "a hard link", b"2": "a symbolic link", b"3": "a character device", b"4": "a block device"},
    **{b"5": "a folder", b"6": "a named pipe", b"S": "a sparse file", b"g": "an extended header for all members"},
    **{
        b"x": "an extended header",
        b"L": "a long name of GNU tar",
        b"K": "a long link of GNU tar",
        b"\0": "an old file",
    },
}


def head(file: BinaryIO) -> tuple[bytes, bytes]:
    """The manifest's and the signature's bytes; the file stands at the first member then. Not checked otherwise."""
    _need_archive(file)
    return (
        _first(file, manifest.NAME, manifest.MAX_BYTES),
        _first(file, manifest.SIGNATURE_NAME, manifest.MAX_SIGNATURE_BYTES),
    )


def structure(file: BinaryIO, table: Manifest) -> None:
    """Every header, the end and the file's length, without the contents. The file stands at the first member again then.

    So a bundle that was cut off, or to which something was added, is refused before gigabytes are read.
    """
    start = file.tell()
    size_bytes = os.fstat(file.fileno()).st_size
    for member in table.members:
        header(file, member, table)
        end = file.tell() + member.size_bytes + len(layout.padding(member.size_bytes))
        if end > size_bytes:
            raise _cut_off(member.path, end - size_bytes)
        file.seek(end)
    _need_end(file, table)
    file.seek(start)


def header(file: BinaryIO, member: Member, table: Manifest) -> None:
    """Read a member's header, which must be the one that belongs to it."""
    expected = layout.header(member.path, member.size_bytes)
    found = file.read(len(expected))
    if found != expected:
        raise _stranger(found, expected, member.path, table)


def content(file: BinaryIO, member: Member, table: Manifest, write: Callable[[bytes], object] | None = None) -> None:
    """Read a member, header and all, and hand its content to ``write``. Raises ``Refused`` where it is not the one listed.

    What was written is right only once this has returned.
    """
    header(file, member, table)
    digest = hashlib.sha256()
    left = member.size_bytes
    while left:
        chunk = file.read(min(left, CHUNK_BYTES))
        if not chunk:
            raise _cut_off(member.path, left)
        left -= len(chunk)
        digest.update(chunk)
        if write is not None:
            write(chunk)
    if digest.hexdigest() != member.sha256:
        raise Refused(f"{shown(member.path)}: its content is not the one that was bundled (another sha256)")
    _padding(file, member.path, member.size_bytes)


def _need_archive(file: BinaryIO) -> None:
    block = file.read(layout.BLOCK_BYTES)
    file.seek(0)
    begins = layout.header(manifest.NAME, 0)[:100]
    if not block:
        raise Refused("the bundle is empty: it was cut off")
    if len(block) < layout.BLOCK_BYTES and begins[: len(block)] == block[:100]:
        raise _cut_off(manifest.NAME, layout.BLOCK_BYTES - len(block))
    if block[layout.MAGIC_FIELD] != layout.MAGIC and block[:100] != begins:
        raise Misused("this is no bundle: it does not begin as one", "provision bundle create FILE --key KEY")


def _first(file: BinaryIO, name: str, most: int) -> bytes:
    """The content of one of the two members whose sizes no manifest has."""
    block = file.read(layout.BLOCK_BYTES)
    if len(block) < layout.BLOCK_BYTES:
        raise _cut_off(name, layout.BLOCK_BYTES - len(block))
    size = re.fullmatch(rb"([0-7]{11})\0", block[layout.SIZE_FIELD])
    size_bytes = int(size[1], 8) if size else 0
    if block != layout.header(name, size_bytes):
        raise _stranger(block, layout.header(name, size_bytes), name, None)
    if size_bytes > most:
        raise Refused(f"{name}: {size_bytes} bytes; at most {most} are read")
    data = file.read(size_bytes)
    if len(data) < size_bytes:
        raise _cut_off(name, size_bytes - len(data))
    _padding(file, name, size_bytes)
    return data


def _padding(file: BinaryIO, path: str, size_bytes: int) -> None:
    expected = layout.padding(size_bytes)
    found = file.read(len(expected))
    if len(found) < len(expected):
        raise _cut_off(path, len(expected) - len(found))
    if found != expected:
        raise Refused(f"{shown(path)}: after its content stands something else than zeros")


def _need_end(file: BinaryIO, table: Manifest) -> None:
    last = table.members[-1].path if table.members else manifest.SIGNATURE_NAME
    found = file.read(len(layout.END))
    if found != layout.END:
        name = _name(found)
        if name and found[layout.MAGIC_FIELD][:5] == layout.MAGIC[:5]:
            raise _not_listed(name, found, f"after {shown(last)}, the last member")
        if len(found) < len(layout.END) and not any(found):
            raise Refused(
                f"the bundle was cut off after {shown(last)}: {len(layout.END) - len(found)} bytes are missing"
            )
        raise Refused(f"after {shown(last)}, the last member, stands something else than the archive's end")
    if file.read(1):
        raise Refused(f"after the archive's end, which follows {shown(last)}, stands something more")


def _cut_off(path: str, missing_bytes: int) -> Refused:
    return Refused(f"{shown(path)}: the bundle was cut off in it: {missing_bytes} bytes or more are missing")


def _not_listed(name: bytes, found: bytes, place: str) -> Refused:
    kind = found[layout.KIND_FIELD]
    why = manifest.unsafe(name.decode("utf-8", "surrogateescape"))
    what = _KINDS.get(kind, "a member") if kind != layout.FILE else "a file"
    return Refused(f"{shown(name)}: {what} that {manifest.NAME} does not list, {place}" + (f" ({why})" if why else ""))


def _stranger(found: bytes, expected: bytes, path: str, table: Manifest | None) -> Refused:
    """What stands there instead of a member's header."""
    block = found[: layout.BLOCK_BYTES]
    if len(found) < len(expected) and expected.startswith(found):
        return _cut_off(path, len(expected) - len(found))
    if not any(block):
        return Refused(f"{shown(path)}: it is missing: the archive ends before it")
    if block[148:156] != layout.checksum(block):
        return Refused(f"{shown(path)}: its header is damaged")
    kind, name = block[layout.KIND_FIELD], _name(block)
    if name != _name(expected) and kind != layout.EXTENDED:
        return _other_name(name, block, path, table)
    if kind != expected[layout.KIND_FIELD]:
        return Refused(f"{shown(path)}: it is {_KINDS.get(kind, 'of an unknown kind')}, not a plain file")
    if block[layout.SIZE_FIELD] != expected[layout.SIZE_FIELD]:
        return Refused(f"{shown(path)}: its header gives another size than {manifest.NAME}")
    return Refused(f"{shown(path)}: its header is not the one that belongs to it")


def _other_name(name: bytes, block: bytes, path: str, table: Manifest | None) -> Refused:
    listed = {m.path.encode() for m in table.members} if table else set()
    if name not in listed:
        return _not_listed(name, block, f"where {shown(path)} should be")
    if name < path.encode():
        return Refused(f"{shown(name)}: it is in the bundle twice, or not in its place")
    return Refused(f"{shown(path)}: it is missing: {shown(name)} stands in its place")


def _name(block: bytes) -> bytes:
    """The name in a header block, with the prefix that other writers split off."""
    name, prefix = block[:100].rstrip(b"\0"), block[345:500].rstrip(b"\0")
    return prefix + b"/" + name if prefix else name
