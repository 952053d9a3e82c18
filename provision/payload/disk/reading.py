"""The ways in which weights are read, each timed by a ``Meter``. Every one stops where its pieces or its time end."""

from __future__ import annotations

import contextlib
import mmap
import os
import random
import threading
from collections.abc import Callable, Iterator

from . import aio
from .cache import held_share, let_go
from .meter import Meter
from .space import BLOCK, Piece
from .target import COPY_BLOCK, target

DEPTH = 16  # blocks of 1 MiB in flight: as much as eight readers of 2 MiB, and past where one NVMe disk is busy
READERS = 8  # vLLM's prefetch, and the concurrency from which the Run:ai streamer gained nothing more on one disk
STREAM_BLOCK = 16 << 20  # vLLM's prefetch
RANDOM_BLOCK = 4096
RANDOM_DEPTH = 32


def sequential(pieces: list[Piece], meter: Meter) -> str:
    """One reader from front to back, ``DEPTH`` blocks in flight, past the page cache. How it was done."""
    places = ((piece.direct, at) for piece in pieces for at in range(piece.offset, piece.offset + piece.length, BLOCK))
    return _in_flight(places, BLOCK, DEPTH, meter)


def random_reads(pieces: list[Piece], meter: Meter) -> str:
    """Single pages anywhere, ``RANDOM_DEPTH`` in flight, past the page cache. Reads are ``meter.bytes / RANDOM_BLOCK``."""
    spans = [(piece.direct, piece.offset // RANDOM_BLOCK, piece.length // RANDOM_BLOCK) for piece in pieces]
    chance = random.Random(1)  # noqa: S311  the same places every time, and no secret
    if len(spans) == 1:
        ((fd, first, count),) = spans
        places = iter(lambda: (fd, (first + int(chance.random() * count)) * RANDOM_BLOCK), None)
    else:
        weights = [count for _, _, count in spans]
        places = (
            (fd, (first + int(chance.random() * count)) * RANDOM_BLOCK)
            for fd, first, count in iter(lambda: chance.choices(spans, weights)[0], None)
        )
    return _in_flight(places, RANDOM_BLOCK, RANDOM_DEPTH, meter, again=True)


def _in_flight(places: Iterator[tuple[int, int]], block: int, depth: int, meter: Meter, again: bool = False) -> str:
    """``again``: the places never end, and those that were prepared may be read a second time."""
    try:
        queue = aio.Queue(places, block, depth)
    except aio.Refused:
        _threads(places, block, depth, meter)
        return f"{depth} threads"
    meter.start()
    queue.run(meter, again)
    return f"{depth} in flight by io_submit"


def _threads(places: Iterator[tuple[int, int]], block: int, depth: int, meter: Meter) -> None:
    lock = threading.Lock()

    def work(_: int) -> None:
        buffer = mmap.mmap(-1, block)
        while not meter.over:
            with lock:
                place = next(places, None)
            if place is None:
                return
            meter.add(os.preadv(place[0], [buffer], place[1]))

    _side_by_side(work, depth)


def _side_by_side(work: Callable[[int], None], count: int) -> None:
    """``work(0)`` … ``work(count - 1)``, each in a thread; the first error is raised when all have ended."""
    errors: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def readers(pieces: list[Piece], meter: Meter) -> str:
    """``READERS`` readers, each in its own part, through the page cache."""
    whole = sum(piece.length for piece in pieces)
    part = whole // READERS // BLOCK * BLOCK
    blocks = [(p.fd, at) for p in pieces for at in range(p.offset, p.offset + p.length, BLOCK)]

    def work(number: int) -> None:
        buffer = memoryview(mmap.mmap(-1, STREAM_BLOCK))
        begin = number * part // BLOCK
        for fd, at, length in _runs(blocks[begin : begin + part // BLOCK], STREAM_BLOCK):
            if meter.over:
                return
            meter.add(os.preadv(fd, [buffer[:length]], at))

    _side_by_side(work, READERS)
    return f"{READERS} threads, {STREAM_BLOCK >> 20} MiB a read"


def _runs(blocks: list[tuple[int, int]], most: int) -> Iterator[tuple[int, int, int]]:
    """Neighbouring blocks of one file joined into reads of at most ``most`` bytes: (file descriptor, offset, length)."""
    run: tuple[int, int, int] | None = None
    for fd, at in blocks:
        if run and run[0] == fd and run[1] + run[2] == at and run[2] + BLOCK <= most:
            run = (fd, run[1], run[2] + BLOCK)
            continue
        if run:
            yield run
        run = (fd, at, BLOCK)
    if run:
        yield run


def streamed(pieces: list[Piece], meter: Meter) -> str:
    """One reader through the page cache into new memory, tensor by tensor, and from there to where it is wanted.

    As safetensors' backend "pread" does it. (Its ``load`` of a whole file's bytes copies once more: 2.8 s of processor time for
    2 GiB where "pread" took 1.7 and this 1.5; 2 cores, busy, 2026-11-24.)
    """
    into = target()
    meter.start()
    for piece in pieces:
        for at in range(piece.offset, piece.offset + piece.length, STREAM_BLOCK):
            if meter.over:
                return _STREAMED
            length = min(STREAM_BLOCK, piece.offset + piece.length - at)
            with contextlib.closing(mmap.mmap(-1, length)) as fresh, memoryview(fresh) as view:
                count = os.preadv(piece.fd, [view], at)
                with view[:count] as part:
                    into.take(part)
            meter.add(count)
    return _STREAMED


_STREAMED = f"one reader, {STREAM_BLOCK >> 20} MiB a read into new memory, then copied"


def mapped(pieces: list[Piece], meter: Meter) -> str:
    """The file mapped and copied from front to back by one thread: every page is faulted in, as safetensors does it.

    No advice is given to the kernel: torch's mapping gives none either, and with it the kernel reads ahead differently.
    """
    into = target()
    meter.start()
    for piece in pieces:
        view = mmap.mmap(piece.fd, piece.length, prot=mmap.PROT_READ, flags=mmap.MAP_SHARED, offset=piece.offset)
        with contextlib.closing(view) as file, memoryview(file) as pages:
            for at in range(0, piece.length, COPY_BLOCK):
                if meter.over:
                    return _MAPPED
                count = min(COPY_BLOCK, piece.length - at)
                with pages[at : at + count] as part:
                    into.take(part)
                meter.add(count)
    return _MAPPED


_MAPPED = "mapped, copied by one thread in page-fault order"


def make_cold(pieces: list[Piece]) -> tuple[float | None, float | None]:
    """Drop the pieces from the page cache: the shares held before and after; None where the kernel does not say."""
    before = _held(pieces)
    for piece in pieces:
        let_go(piece.fd, piece.offset, piece.length)
    return before, _held(pieces)


def _held(pieces: list[Piece]) -> float | None:
    held, whole = 0.0, 0
    for piece in pieces:
        share = held_share(piece.fd, piece.offset, piece.length)
        if share is None:
            return None
        held, whole = held + share * piece.length, whole + piece.length
    return held / whole if whole else None
