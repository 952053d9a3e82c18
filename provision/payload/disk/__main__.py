"""``python -m disk REQUEST``: the measurement. ``REQUEST`` is JSON; see ``Request``. One JSON object a line."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

from . import reading, target
from .meter import Meter
from .space import Piece, existing, open_direct, shares, unnamed, write

# Shares of the time and of the bytes that each part may use. What is written is read once; no byte is read twice from the
# disk. Direct reading needs the most bytes, mapping the most time: it is the slowest.
WRITE_SECONDS, WRITE_BYTES = 0.30, 0.45
SECONDS = {"sequential": 0.15, "readers": 0.12, "mmap": 0.17, "streamed": 0.13, "random": 0.08}
WARM_SECONDS = 0.05  # each of the two
READ_MORE = 1.25  # times as long for each part where nothing has to be written
BYTES = {"sequential": 0.35, "readers": 0.20, "mmap": 0.23, "streamed": 0.22}
RANDOM_BYTES = 0.02


def say(**words: Any) -> None:
    print(json.dumps(words), flush=True)


def main(request: dict[str, Any]) -> None:
    """files: [[path, bytes], …] to read; else folder and name: where one temporary file may be made; seconds; bytes;
    reserve: bytes that must stay free; memory: there is no disk beneath, so nothing can be cold."""
    seconds, most = float(request["seconds"]), int(request["bytes"])
    if request.get("files"):
        pieces, refused, holes = existing([(str(path), int(size)) for path, size in request["files"]])
        say(part="source", kind="files", files=len(pieces), bytes=sum(p.length for p in pieces), holes=holes)
        seconds *= READ_MORE
        most = int(most * (1 - 2 * RANDOM_BYTES))
    else:
        pieces, refused = _written(request, seconds, int(most * WRITE_BYTES))
    if not pieces:
        return
    measure(pieces, refused, seconds, most, bool(request.get("memory")))


def _written(request: dict[str, Any], seconds: float, most: int) -> tuple[list[Piece], str]:
    folder, reserve = str(request["folder"]), int(request["reserve"])
    fd, how = unnamed(folder, str(request["name"]))

    def room() -> int:
        left = os.fstatvfs(fd)
        return left.f_bavail * left.f_frsize - reserve

    size, direct, took = write(fd, most, seconds * WRITE_SECONDS, room)
    say(part="source", kind="written", how=how, bytes=size, seconds=took, direct=direct)
    if not size:
        return [], ""
    again, why = open_direct(f"/proc/self/fd/{fd}")
    return [Piece(fd, again, 0, size)], why


def measure(pieces: list[Piece], refused: str, seconds: float, most: int, memory: bool) -> None:
    """Every part in turn. A part that fails says so and the others go on."""
    parts = shares(pieces, BYTES, most)
    before, after = (None, None) if memory else reading.make_cold([piece for part in parts.values() for piece in part])
    direct = not refused and all(piece.direct >= 0 for piece in pieces)
    if not direct:  # then through the page cache, after it was emptied of these pieces
        parts = {name: [piece._replace(direct=piece.fd) for piece in part] for name, part in parts.items()}
        pieces = [piece._replace(direct=piece.fd) for piece in pieces]
    say(part="cache", held_before=before, held_after=after, direct=direct, refused=refused)
    run("sequential", reading.sequential, parts["sequential"], seconds * SECONDS["sequential"])
    run("readers", reading.readers, parts["readers"], seconds * SECONDS["readers"])
    run("mmap", reading.mapped, parts["mmap"], seconds * SECONDS["mmap"])
    run("streamed", reading.streamed, parts["streamed"], seconds * SECONDS["streamed"])
    run("mmap_warm", reading.mapped, _whole_read("mmap", parts["mmap"]), seconds * WARM_SECONDS)
    run("streamed_warm", reading.streamed, _whole_read("streamed", parts["streamed"]), seconds * WARM_SECONDS)
    if before is not None and before < 0.5:  # it was cold when we came: leave it so
        reading.make_cold([piece for part in parts.values() for piece in part])
    run("random", reading.random_reads, pieces, seconds * SECONDS["random"], int(most * RANDOM_BYTES))


_read: dict[str, int] = {}


def _whole_read(name: str, pieces: list[Piece]) -> list[Piece]:
    """Those pieces that the part ``name`` has just read: the rest is not in the cache."""
    left, found = _read.get(name, 0), []
    for piece in pieces:
        take = min(left, piece.length) // target.COPY_BLOCK * target.COPY_BLOCK
        if take:
            found.append(piece._replace(length=take))
        left -= take
    return found


def run(
    name: str, how: Callable[[list[Piece], Meter], str], pieces: list[Piece], seconds: float, most: int = 0
) -> None:
    if not pieces:
        say(part=name, failed="too little was there to read")
        return
    meter = Meter(seconds, most or sys.maxsize)
    try:
        method = how(pieces, meter)
    except OSError as error:
        say(part=name, failed=(error.strerror or str(error)).lower())
        return
    _read[name] = meter.bytes
    low, high = meter.spread()
    say(part=name, bytes=meter.bytes, seconds=meter.seconds, low=low, high=high, method=method)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
