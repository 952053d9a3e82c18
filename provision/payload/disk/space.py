"""What is read: pieces of large files that are there, or one temporary file that never has a name for long."""

from __future__ import annotations

import contextlib
import mmap
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

BLOCK = 1 << 20
WRITE_BLOCK = 4 << 20
_STAMP = 4096  # every block of this size is made different from all others, for storage that keeps equal blocks once
_TMPFILE = getattr(os, "O_TMPFILE", 0)


class Piece(NamedTuple):
    """A part of an open file. ``direct`` is the same file opened with O_DIRECT, or -1 where that was refused."""

    fd: int
    direct: int
    offset: int
    length: int


def open_direct(path: str) -> tuple[int, str]:
    """The file opened past the page cache, or -1 and why not."""
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC), ""
    except OSError as error:
        return -1, (error.strerror or str(error)).lower()


def existing(files: list[tuple[str, int]]) -> tuple[list[Piece], str, int]:
    """Every file that can be read whole, as one piece; why O_DIRECT was refused; how many were passed over for holes."""
    pieces, refused, holes = [], "", 0
    for path, _ in files:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        size = os.fstat(fd).st_size // BLOCK * BLOCK
        if size == 0 or _has_hole(fd, size):
            holes += size > 0
            os.close(fd)
            continue
        direct, why = open_direct(path)
        refused = refused or why
        pieces.append(Piece(fd, direct, 0, size))
    return pieces, refused, holes


def _has_hole(fd: int, size: int) -> bool:
    """Whether part of the file is on no disk (a preallocated or unfinished download): reading it would cost nothing."""
    try:
        return os.lseek(fd, 0, os.SEEK_HOLE) < size
    except OSError:  # a file system that cannot say
        return False


def unnamed(folder: str, name: str) -> tuple[int, str]:
    """A new file without a name, and how it was made. It is gone with this process, however that ends."""
    if _TMPFILE:
        with contextlib.suppress(OSError):  # not every file system knows it: NFS, FUSE, older overlays
            return os.open(folder, os.O_RDWR | _TMPFILE | os.O_CLOEXEC, 0o600), "O_TMPFILE"
    path = Path(folder, name)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    path.unlink()
    return fd, "unlinked while open"


def write(fd: int, most: int, seconds: float, room: Callable[[], int]) -> tuple[int, bool, float]:
    """Fill the file with random bytes until ``most``, the time or the ``room`` is used up; synced. Bytes, direct, seconds.

    Written past the page cache where the file system allows it, so that nothing is left to be flushed later.
    """
    direct = _opened_again(fd)
    target = fd if direct < 0 else direct
    source = mmap.mmap(-1, WRITE_BLOCK)
    source[:] = os.urandom(WRITE_BLOCK)
    started = time.monotonic()
    done = 0
    while done + WRITE_BLOCK <= most and time.monotonic() - started < seconds and room() >= WRITE_BLOCK:
        for at in range(0, WRITE_BLOCK, _STAMP):
            source[at : at + 8] = (done + at).to_bytes(8, "little")
        try:
            written = os.pwritev(target, [source], done)
        except OSError:
            if target == fd:
                raise
            target = fd  # opened with O_DIRECT, and refused at the first write
            continue
        if written != WRITE_BLOCK:
            break
        if target == fd:
            os.fdatasync(fd)
        done += WRITE_BLOCK
    os.ftruncate(fd, done)
    os.fsync(fd)
    if direct >= 0:
        os.close(direct)
    return done, target != fd, time.monotonic() - started


def _opened_again(fd: int) -> int:
    """The same file for writing past the page cache, or -1."""
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_DIRECT | os.O_CLOEXEC)
    except OSError:
        return -1


def shares(pieces: list[Piece], parts: dict[str, float], most: int) -> dict[str, list[Piece]]:
    """Every part's own pieces, no byte in two of them: what one part read, no other finds in a cache.

    ``parts``: name to its share of the whole, which is all pieces or ``most`` bytes of them, whichever is less. A part
    begins where its share of all pieces begins, so that a large model is sampled over its whole length.
    """
    whole = sum(piece.length for piece in pieces)
    used = min(whole, most)
    found, start = {}, 0.0
    for name, share in parts.items():
        begin = int(whole * start) // BLOCK * BLOCK
        found[name] = _cut(pieces, begin, int(used * share) // BLOCK * BLOCK)
        start += share
    return found


def _cut(pieces: list[Piece], begin: int, length: int) -> list[Piece]:
    cut = []
    for piece in pieces:
        if length <= 0:
            break
        if begin >= piece.length:
            begin -= piece.length
            continue
        take = min(length, piece.length - begin)
        cut.append(piece._replace(offset=piece.offset + begin, length=take))
        length, begin = length - take, 0
    return cut
