"""Many reads in flight from one thread: the kernel's own asynchronous I/O (io_submit(2)), as fio's libaio uses it.

Python's threads hold each other up at small blocks: 41,000 reads of 4 KiB a second by 8 threads, 300 by 32, where one
thread with this made 84,000 and fio 97,000 (Python 3.11, 2 cores, one run, 2026-11-24). So that no interpreter's work
stands between two reads either, every request is written before the clock runs, and a turn of the loop is two calls.
"""

from __future__ import annotations

import ctypes
import itertools
import mmap
import os
import platform
import struct
from collections.abc import Iterator

from .meter import Meter

# setup, destroy, getevents, submit: asm/unistd_64.h of x86, asm-generic/unistd.h for the others
_NUMBERS = {"x86_64": (206, 207, 208, 209), "aarch64": (0, 1, 4, 2), "riscv64": (0, 1, 4, 2)}
_IOCB = struct.Struct("<QIIHhIQQqQII")  # struct iocb, linux/aio_abi.h: 64 bytes
_EVENT_WORDS = 4  # struct io_event: data, obj, res, res2, of 8 bytes each
_RESULT = 2
_MOST = 1 << 16  # requests that are prepared at most, 4 MiB of them
# Requests a call: with all that are ready in one, a virtual disk waits for the call to end and we wait for the disk. 379 MB/s
# at 4 KiB and 32 in flight, 429 with two a call, 421 with one, 440 by fio, which sends one (virtio, 2 cores, 2026-11-24).
_A_CALL = 2


class Refused(Exception):
    """The kernel does not offer it here: another processor, or a container's filter."""


class Queue:
    """Requests for blocks at ``places`` (file descriptor, offset), prepared; ``run`` reads them. Raises ``Refused``."""

    def __init__(self, places: Iterator[tuple[int, int]], block: int, depth: int) -> None:
        numbers = _NUMBERS.get(platform.machine())
        if numbers is None:
            raise Refused(f"no asynchronous I/O known for {platform.machine()}")
        self._setup, self._destroy, self._events, self._submit = map(ctypes.c_long, numbers)
        self._block, self._depth = block, depth
        self._call = ctypes.CDLL(None, use_errno=True).syscall
        self._call.restype = ctypes.c_long
        self._context = ctypes.c_ulong(0)
        if self._call(self._setup, ctypes.c_long(depth), ctypes.byref(self._context)) != 0:
            raise Refused(f"io_setup: {os.strerror(ctypes.get_errno()).lower()}")
        self._memory = mmap.mmap(-1, block * depth)  # page-aligned, as O_DIRECT wants
        self._memory[:] = bytes(block * depth)  # there before the clock runs
        self._anchor = ctypes.c_char.from_buffer(self._memory)
        self._prepare(list(itertools.islice(places, _MOST)))

    def _prepare(self, wanted: list[tuple[int, int]]) -> None:
        self._count = len(wanted)
        base = ctypes.addressof(self._anchor)
        self._requests = ctypes.create_string_buffer(_IOCB.size * max(1, self._count))
        first = ctypes.addressof(self._requests)
        for number, (fd, offset) in enumerate(wanted):
            buffer = (
                base + number % self._depth * self._block
            )  # two reads may share one: what they bring is not looked at
            row = (number, 0, 0, 0, 0, fd, buffer, self._block, offset, 0, 0, 0)
            _IOCB.pack_into(self._requests, number * _IOCB.size, *row)
        self._pointers = (ctypes.c_void_p * max(1, self._count))(
            *range(first, first + self._count * _IOCB.size, _IOCB.size)
        )

    def run(self, meter: Meter, again: bool) -> None:
        """Keep ``depth`` in flight until all are read or the time is used up; ``again``: then from the start, for ever."""
        try:
            self._loop(meter, again)
        finally:
            self._call(self._destroy, self._context)  # waits for what is in flight
            del self._anchor
            self._memory.close()

    def _loop(self, meter: Meter, again: bool) -> None:
        events = (ctypes.c_int64 * (_EVENT_WORDS * self._depth))()
        one, depth, call, sizes = ctypes.c_long(1), ctypes.c_long(self._depth), self._call, {self._block}
        ready, flying, sent = min(self._depth, self._count), 0, 0
        while ready or flying:
            while ready:
                at = sent % self._count
                number = self._send(at, min(ready, self._count - at, _A_CALL))
                ready, sent, flying = ready - number, sent + number, flying + number
            number = call(self._events, self._context, one, depth, events, None)
            if number < 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            got = set(events[_RESULT : _EVENT_WORDS * number : _EVENT_WORDS])
            if got != sizes:
                failed = min(got)
                raise OSError(-failed, os.strerror(-failed)) if failed < 0 else OSError(5, "short read")
            flying -= number
            meter.add(number * self._block)
            left = number if again else self._count - sent
            ready = 0 if meter.over else min(number, left)

    def _send(self, at: int, number: int) -> int:
        pointers = ctypes.byref(self._pointers, at * ctypes.sizeof(ctypes.c_void_p))
        sent: int = self._call(self._submit, self._context, ctypes.c_long(number), pointers)
        if sent <= 0:
            raise OSError(ctypes.get_errno(), f"io_submit: {os.strerror(ctypes.get_errno()).lower()}")
        return sent
