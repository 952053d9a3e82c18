"""The page cache's view of a piece of a file: how much of it is held, and the request to let go of it."""

from __future__ import annotations

import ctypes
import mmap
import os

PAGE = mmap.PAGESIZE
_FOLIO_BYTES = 4 << 20  # the page cache's largest on x86 is 2 MiB


def held_share(fd: int, offset: int, length: int) -> float | None:
    """The share of the pages that are in memory, 0 to 1, by mincore(2); None where the kernel does not say.

    Since Linux 5.2 it answers only who owns the file or may write to it; to others every page counts as held.
    """
    if not _may_ask(fd):
        return None
    # Private and "writable" only so that ctypes gives the address; no page is touched.
    view = mmap.mmap(fd, length, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE, offset=offset)
    window = ctypes.c_char.from_buffer(view)
    try:
        count = (length + PAGE - 1) // PAGE
        states = (ctypes.c_ubyte * count)()
        if ctypes.CDLL(None).mincore(ctypes.c_void_p(ctypes.addressof(window)), ctypes.c_size_t(length), states) != 0:
            return None
        return bytes(states).count(1) / count  # the other bits are reserved, and nought
    finally:
        del window
        view.close()


def _may_ask(fd: int) -> bool:
    status = os.fstat(fd)
    return os.geteuid() in (0, status.st_uid) or os.access(f"/proc/self/fd/{fd}", os.W_OK)


def let_go(fd: int, offset: int, length: int) -> None:
    """Ask the kernel to forget clean pages. Those that are dirty, or mapped by another program, stay.

    A large folio that reaches out of the range would stay whole (3 % of a part did, ext4, Linux 6.18): so a bit more is dropped.
    """
    begin = max(0, offset - _FOLIO_BYTES)
    os.posix_fadvise(fd, begin, offset + length + _FOLIO_BYTES - begin, os.POSIX_FADV_DONTNEED)
