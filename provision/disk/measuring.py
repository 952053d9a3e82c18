"""The measurement: started in a child that is killed at its deadline, and heard line by line."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from provision.child import follow_child
from provision.disk.model import Checkpoint
from provision.facts.place import Place
from provision.progress import say
from provision.record import record

SECONDS, GIB = 5.0, 4.0  # what the measurement may use unless told otherwise
GRACE_SECONDS = 5.0  # a part notices its end between two reads; a sleeping disk takes seconds to spin up
GRACE_SHARE = 0.5  # of the time that was given, where that is more: what is prepared between the parts grows with it
QUIET_SECONDS = 2.0  # before progress is said
LEAST_BYTES = 256 << 20  # of files that are there: with fewer a temporary file tells more
FILES = 256  # files that are opened at most
RESERVE_SHARE, RESERVE_BYTES = 0.05, 1 << 30  # what stays free on the disk, the larger of the two
PAYLOAD = Path(__file__).parents[1] / "payload"
PARTS = ("sequential", "readers", "mmap", "streamed", "mmap_warm", "streamed_warm", "random")
PAGE_BYTES = 4096  # of one random read


@record
class Rate:
    """``low`` and ``high``: what a tenth of the slices of the time fell below and a tenth rose above, in bytes per second."""

    bytes: int
    seconds: float
    low: float
    high: float
    method: str

    @property
    def per_s(self) -> float:
        """Bytes per second."""
        return self.bytes / self.seconds


@record
class Measured:
    parts: dict[str, Rate]  # those of PARTS that were measured
    unmeasured: dict[str, str]  # the others, and why not
    method: tuple[str, ...]  # what was done, in sentences
    cold: bool | None  # what was to be cold was cold; None: the kernel does not say

    def rate(self, part: str) -> float | None:
        """Bytes per second, where it was measured."""
        return self.parts[part].per_s if part in self.parts else None


@record
class Source:
    """What is read: files that are there, or else a temporary file in ``folder``; or neither, and why."""

    files: tuple[tuple[str, int], ...] = ()
    folder: str = ""
    reserve_bytes: int = 0
    refused: str = ""


def source(
    place: Place, there: Checkpoint | None, room: dict[str, int] | None, writable: bool, may_write: bool
) -> Source:
    """Files where enough are there; else a temporary file, where that is allowed and leaves room.

    ``room``: statvfs of the place, None where it gave no answer.
    """
    files = tuple((file.path, file.bytes) for file in (there.files if there else ())[:FILES])
    if sum(size for _, size in files) >= LEAST_BYTES:
        return Source(files=files)
    if not may_write:
        return Source(
            refused=f"fewer than {LEAST_BYTES >> 20} MiB of weights are there to read, and --read-only forbids writing"
        )
    if not writable:
        return Source(refused=f"no weights are there to read, and {place.path} is not writable for this user")
    if room is None:
        return Source(refused="the file system does not say how much room it has, so nothing is written to it")
    block = room["block_size"]
    if not room["blocks"]:
        return Source(refused=f"{place.filesystem} is the kernel's own window and holds no files")
    reserve = max(int(room["blocks"] * block * RESERVE_SHARE), RESERVE_BYTES)
    left = room["available_blocks"] * block - reserve
    if left < LEAST_BYTES // 4:
        return Source(
            refused=f"{max(0, room['available_blocks'] * block) >> 20} MiB are free, of which {reserve >> 20} MiB are kept free: "
            "too little for a temporary file"
        )
    return Source(folder=place.path, reserve_bytes=reserve)


def measure(place: Place, chosen: Source, seconds: float, most: int) -> Measured:
    """Run the child and gather what it said."""
    if chosen.refused:
        return Measured(parts={}, unmeasured=dict.fromkeys(PARTS, chosen.refused), method=(), cold=None)
    memory = any(layer.kind == "memory" for layer in place.layers)
    request: dict[str, Any] = {"seconds": seconds, "bytes": most, "memory": memory}
    if chosen.files:
        request["files"] = chosen.files
    else:
        name = f".provision-disk-{os.getpid()}.tmp"
        request |= {"folder": chosen.folder, "name": name, "reserve": chosen.reserve_bytes}
    start = (
        "import json,sys;sys.path.insert(0,sys.argv[1]);from disk.__main__ import main;main(json.loads(sys.argv[2]))"
    )
    command = (sys.executable, "-I", "-S", "-c", start, str(PAYLOAD), json.dumps(request))
    lines: list[dict[str, Any]] = []
    progress = threading.Timer(
        QUIET_SECONDS, say, (f"measuring {place.path}: at most {seconds:g} s and {most / 2**30:g} GiB",)
    )
    progress.daemon = True
    progress.start()
    try:
        deadline = seconds + max(GRACE_SECONDS, seconds * GRACE_SHARE)
        status, why = follow_child(command, deadline, lambda line: lines.append(json.loads(line)), "the disk")
    finally:
        progress.cancel()
        if (
            not chosen.files and not place.network
        ):  # killed between making and unlinking it; a dead server would hang us
            Path(chosen.folder, request["name"]).unlink(missing_ok=True)
    return gathered(lines, _ended(status, why), memory)


def _ended(status: int, why: str) -> str:
    """Why the child ended early; empty where it did not."""
    if status == -signal.SIGBUS:
        return "reading the mapped file failed: an I/O error (SIGBUS)"
    if status == -signal.SIGKILL:
        return why or "the measurement was killed: out of memory, or by somebody"
    return f"the measurement ended with status {status}: {why or 'no message'}" if status else ""


def gathered(lines: list[dict[str, Any]], early: str, memory: bool) -> Measured:
    """The child's lines as one record. A part of which nothing was heard has the reason why the child ended."""
    heard = {line["part"]: line for line in lines}
    cache = heard.get("cache", {})
    parts, unmeasured = {}, {}
    for part in PARTS:
        line = heard.get(part)
        if line is None:
            unmeasured[part] = early or _nothing(heard.get("source", {}))
        elif "failed" in line or not line["bytes"]:
            unmeasured[part] = line.get("failed") or "no read was finished in its time"
        else:
            row = {name: line[name] for name in ("bytes", "seconds", "low", "high", "method")}
            parts[part] = Rate(**row)
    after = cache.get("held_after")
    return Measured(
        parts=parts,
        unmeasured=unmeasured,
        method=tuple(_method(heard.get("source", {}), cache, memory)),
        cold=None if after is None else after <= HELD_SHARE,
    )


HELD_SHARE = 0.01  # of what was to be cold: less changes no rate that is said with two digits


def _nothing(found: dict[str, Any]) -> str:
    if found.get("kind") == "files":
        return (
            f"none of the files can be read for it: {found['holes']} have holes"
            if found["holes"]
            else "no file to read"
        )
    return "no room for a temporary file" if found else "the child said nothing"


def _method(found: dict[str, Any], cache: dict[str, Any], memory: bool) -> list[str]:
    said = []
    if found.get("kind") == "files":
        holes = f" ({found['holes']} with holes passed over)" if found["holes"] else ""
        said.append(f"read parts of {found['files']} files that were there{holes}; wrote nothing")
    elif found:
        past = "past the page cache" if found["direct"] else "through the page cache, flushed block by block"
        said.append(
            f"wrote {found['bytes'] >> 20} MiB of random bytes {past} to a temporary file without a name ({found['how']}), "
            "synced it, and let it go with the process"
        )
    if not cache:
        return said
    if memory:
        said.append("the file system is memory: nothing can be cold, and every rate is memory's")
    elif cache["held_after"] is None:
        said.append("asked the kernel to drop it from the page cache; whether it did is not told to this user")
    else:
        said.append(f"dropped it from the page cache: {cache['held_after']:.2%} stayed, by mincore")
    if not cache["direct"]:
        said.append(
            f"O_DIRECT was refused ({cache['refused'] or 'no reason given'}): sequential and random go through the page cache"
        )
    said.append("no byte was read twice from the disk, but for single pages and the warm passes")
    return said
