"""The bytes of the archive around each member: a function of the member's path and size alone.

POSIX pax interchange format (IEEE Std 1003.1, "pax"), every field fixed but name and size: a plain file, mode 0644, owner
0, time 0. A name that is long or not ASCII, and a size of 8 GiB or more, travel in an extended header as that standard
says. Any tar reads it. (The standard library's ``tarfile`` is not used to write: its headers differ between Pythons, and
these must be the same bytes on the machine that makes a bundle and on the one that checks it.)
"""

from __future__ import annotations

BLOCK_BYTES = 512
END = bytes(2 * BLOCK_BYTES)
_NAME_BYTES = 100
_MAX_OCTAL = 0o77777777777
SIZE_FIELD = slice(124, 136)
KIND_FIELD = slice(156, 157)
MAGIC_FIELD = slice(257, 265)
MAGIC = b"ustar\x0000"
FILE, EXTENDED = b"0", b"x"


def header(path: str, size_bytes: int) -> bytes:
    """What stands before a member's content: 512 bytes, or 1536 and more with an extended header."""
    name = path.encode()
    records = b""
    if len(name) > _NAME_BYTES or not path.isascii():
        records += _record("path", name)
        name = path.encode("ascii", "replace")[:_NAME_BYTES]
    if size_bytes > _MAX_OCTAL:
        records += _record("size", str(size_bytes).encode())
        size_bytes = 0
    extended = _block(b"././@PaxHeader", len(records), EXTENDED) + padded(records) if records else b""
    return extended + _block(name, size_bytes, FILE)


def padding(size_bytes: int) -> bytes:
    """The zeros after a content of that size."""
    return bytes(-size_bytes % BLOCK_BYTES)


def padded(content: bytes) -> bytes:
    """A content and the zeros after it."""
    return content + padding(len(content))


def span(path: str, size_bytes: int) -> int:
    """How many bytes of the archive a member takes."""
    return len(header(path, size_bytes)) + size_bytes + len(padding(size_bytes))


def checksum(block: bytes) -> bytes:
    """The checksum field that belongs to a header block."""
    return b"%06o\0 " % (sum(block[:148]) + 8 * ord(" ") + sum(block[156:]))


def _block(name: bytes, size_bytes: int, kind: bytes) -> bytes:
    before = name.ljust(_NAME_BYTES, b"\0") + b"0000644\0" + 2 * b"0000000\0" + b"%011o\0%011o\0" % (size_bytes, 0)
    after = kind + bytes(100) + MAGIC + bytes(64) + bytes(16) + bytes(155 + 12)
    block = before + 8 * b" " + after
    return before + checksum(block) + after


def _record(key: str, value: bytes) -> bytes:
    """``length key=value newline``; the length counts its own digits."""
    rest = b" " + key.encode() + b"=" + value + b"\n"
    length = len(rest)
    while length != len(rest) + len(str(length)):
        length = len(rest) + len(str(length))
    return str(length).encode() + rest
