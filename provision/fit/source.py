"""A file of a checkpoint, opened so that it can neither hang the reader nor make it allocate what the file claims.

Only regular files are opened: a FIFO waits for a writer, and opening a device can move it. Reads are positioned and
bounded by the size that the file had when it was opened.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from provision.errors import UsageError

HEADER_LIMIT_BYTES = (
    100_000_000  # the safetensors package refuses longer ones; GGUF's, with 250,000 tokens, reach 20 MB
)
TENSORS_LIMIT = 1 << 19  # DeepSeek-V3 has 91,991; at about 0.6 KB a tensor this is 300 MB of records
NAME_LIMIT = 1024  # bytes of a tensor's name
_SHOWN = 120  # characters of a name in a message
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def shown(name: str | os.PathLike[str]) -> str:
    """A name from a file or folder in one line of a message: what cannot be printed is escaped, what is long is cut."""
    text = os.fspath(name)
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def name_of(raw: bytes) -> str:
    """A tensor's or key's name. Raises ``ValueError`` saying what it is instead of a name."""
    if not 0 < len(raw) <= NAME_LIMIT:
        raise ValueError(f"a name of {len(raw)} bytes; expected 1 to {NAME_LIMIT}")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise ValueError(f"the name {shown(repr(raw)[2:-1])} is not UTF-8") from None
    if not text.isprintable():
        raise ValueError(f"the name {shown(text)} has characters that cannot be printed")
    return text


class Source:
    """What a parser reads from. ``at(offset, length)`` may give less than asked."""

    def __init__(self, name: str | os.PathLike[str], size: int, at: Callable[[int, int], bytes]) -> None:
        self.name = shown(name)
        self.size = size
        self._at = at

    def wrong(self, what: str) -> UsageError:
        """The input error of this file: ``what`` says what is there and what was expected."""
        return UsageError(f"{self.name}: {what}")

    def read(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes. The caller has compared offset and length with ``size``."""
        content = self._at(offset, length)
        while len(content) < length:
            more = self._at(offset + len(content), length - len(content))
            if not more:
                raise self.wrong(f"ends at byte {offset + len(content)}; it had {self.size} bytes when it was opened")
            content += more
        return content


@contextmanager
def opened(path: str) -> Iterator[Source]:
    """The regular file at ``path``, links followed. Raises ``UsageError`` where there is none or it cannot be read."""
    try:
        _regular(path, os.stat(path))
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None
    try:
        found = os.fstat(file)
        _regular(path, found)  # it may have been exchanged since
        yield Source(path, found.st_size, lambda offset, length: os.pread(file, length, offset))
    except OSError as error:
        raise unreadable(path, error) from None
    finally:
        os.close(file)


def unreadable(path: str, error: OSError | ValueError) -> UsageError:
    """The input error for what the system said of ``path``."""
    said = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return UsageError(f"{shown(path)}: cannot be read: {said.lower()}")


def _regular(path: str, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "no file")
        raise UsageError(f"{shown(path)}: {kind}; expected a regular file")
