"""Where weights end up: memory that is there already, and so large that no processor's cache holds it."""

from __future__ import annotations

import contextlib
import functools
import mmap
from pathlib import Path

COPY_BLOCK = 1 << 20
LEAST_BYTES = 128 << 20
MOST_BYTES = 1 << 30
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_UNITS = {"K": 10, "M": 20, "G": 30}


class Target:
    """``take`` copies a block in, behind what came before, and from the start again when it is full."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._memory = memoryview(mmap.mmap(-1, size))
        for at in range(0, size, COPY_BLOCK):
            self._memory[at : at + COPY_BLOCK] = bytes(COPY_BLOCK)
        self._at = 0

    def take(self, view: memoryview) -> None:
        if self._at + len(view) > self._size:
            self._at = 0
        self._memory[self._at : self._at + len(view)] = view
        self._at += len(view)


@functools.cache
def target() -> Target:
    """One for all parts: to make it takes seconds on a slow processor."""
    return Target(wanted_bytes(CACHES, _available()))


def wanted_bytes(caches: Path, available: int) -> int:
    """Twice the largest cache: one that is gone through from front to back then holds nothing that is met again.

    With 128 MiB beside a cache of 260 MiB a warm load was forecast to take 0.74 of what it took (Xeon, 2026-11-24).
    Never more than an eighth of the memory that is ``available``, in bytes (0: not known), and a gibibyte.
    """
    most = min(MOST_BYTES, available // 8) if available else LEAST_BYTES
    largest = 0
    for file in caches.glob("index*/size"):
        with contextlib.suppress(OSError, ValueError, KeyError):  # not said: the least is taken
            text = file.read_text().strip()
            largest = max(largest, int(text[:-1]) << _UNITS[text[-1]])
    return max(LEAST_BYTES, min(2 * largest, most)) // COPY_BLOCK * COPY_BLOCK


def _available() -> int:
    """MemAvailable in bytes; 0 where the kernel does not say."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    return 0
