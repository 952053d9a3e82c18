"""The child that reads: what it makes cold, what it leaves behind, and what it refuses. On this machine's own disk."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest

from provision.payload.disk import aio, cache, reading, space
from provision.payload.disk.meter import Meter

PAYLOAD = Path(__file__).parents[2] / "provision/payload"
MIB = 1 << 20
SHARD = 64 * MIB  # as conftest.py makes them
MOST = 100 * MIB


def child(request: dict[str, Any], code: str = "") -> dict[str, dict[str, Any]]:
    """The child's lines by part."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code or RUN, str(PAYLOAD), json.dumps(request)],
        capture_output=True,
        text=True,
        check=True,
    )
    return {line["part"]: line for line in map(json.loads, done.stdout.splitlines())}


RUN = "import json,sys;sys.path.insert(0,sys.argv[1]);from disk.__main__ import main;main(json.loads(sys.argv[2]))"


def files(folder: Path) -> list[list[Any]]:
    return [[str(path), path.stat().st_size] for path in sorted(folder.glob("*.safetensors"))]


def state(folder: Path) -> dict[str, tuple[int, int, int]]:
    return {p.name: (p.stat().st_size, p.stat().st_mtime_ns, p.stat().st_ino) for p in folder.iterdir()}


def test_files_that_are_there_are_only_read(weights: Path) -> None:
    before = state(weights)
    heard = child({"files": files(weights), "seconds": 3, "bytes": MOST})
    assert state(weights) == before
    assert heard["source"] == {"part": "source", "kind": "files", "files": 2, "bytes": 2 * SHARD, "holes": 0}
    parts = ("sequential", "readers", "mmap", "streamed", "mmap_warm", "streamed_warm", "random")
    assert set(heard) == {"source", "cache", *parts}
    assert all(heard[part]["bytes"] > 0 and heard[part]["low"] <= heard[part]["high"] for part in parts)
    assert sum(heard[part]["bytes"] for part in ("sequential", "readers", "mmap", "streamed", "random")) <= MOST
    assert heard["mmap_warm"]["bytes"] <= heard["mmap"]["bytes"]


def test_what_is_read_cold_was_cold(weights: Path) -> None:
    for path in weights.iterdir():
        path.read_bytes()
    heard = child({"files": files(weights), "seconds": 3, "bytes": 4 << 30})
    assert heard["cache"]["held_before"] > 0.99
    assert heard["cache"]["held_after"] < 0.01


def test_the_cache_is_left_as_it_was_found(weights: Path) -> None:
    paths = sorted(weights.iterdir())
    held = []
    for warm in (False, True):
        for path in paths:
            fd = os.open(path, os.O_RDONLY)
            cache.let_go(fd, 0, SHARD)
            os.close(fd)
            if warm:
                path.read_bytes()
        child({"files": files(weights), "seconds": 6, "bytes": 4 << 30})
        fd = os.open(paths[1], os.O_RDONLY)
        held.append(cache.held_share(fd, 0, SHARD) or 0.0)
        os.close(fd)
    assert held[0] < 0.05
    assert held[1] > 0.5


def test_a_temporary_file_is_random_synced_and_never_seen(on_disk: Path) -> None:
    heard = child({"folder": str(on_disk), "name": "x.tmp", "reserve": 0, "seconds": 2, "bytes": 256 * MIB})
    assert list(on_disk.iterdir()) == []
    assert heard["source"]["kind"] == "written"
    assert 0 < heard["source"]["bytes"] <= 0.45 * 256 * MIB
    assert heard["sequential"]["bytes"] + heard["source"]["bytes"] <= 256 * MIB
    assert heard["cache"]["held_after"] < 0.01


def test_what_is_written_cannot_be_kept_once_or_packed(on_disk: Path) -> None:
    fd, _ = space.unnamed(str(on_disk), "x.tmp")
    size, _, _ = space.write(fd, 16 * MIB, 60, lambda: 1 << 40)
    content = os.pread(fd, size, 0)
    os.close(fd)
    assert size == 16 * MIB
    assert len({content[at : at + 4096] for at in range(0, size, 4096)}) == size // 4096
    assert len(zlib.compress(content, 1)) > 0.99 * size


def test_the_reserve_stays_free(on_disk: Path) -> None:
    free = os.statvfs(on_disk).f_bavail * os.statvfs(on_disk).f_frsize
    heard = child({"folder": str(on_disk), "name": "x.tmp", "reserve": free * 2, "seconds": 2, "bytes": 1 << 30})
    assert heard == {"source": heard["source"]}
    assert heard["source"]["bytes"] == 0


def test_killed_at_any_moment_it_leaves_nothing(on_disk: Path) -> None:
    request = {"folder": str(on_disk), "name": "x.tmp", "reserve": 0, "seconds": 60, "bytes": 8 << 30}
    command = [sys.executable, "-I", "-S", "-c", RUN, str(PAYLOAD), json.dumps(request)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as one:
        assert one.stdout is not None
        one.stdout.readline()  # it has written and begins to read
        one.kill()
    assert list(on_disk.iterdir()) == []


def test_without_o_tmpfile_the_name_is_gone_at_once(on_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space, "_TMPFILE", 0)
    fd, how = space.unnamed(str(on_disk), "x.tmp")
    assert (list(on_disk.iterdir()), how) == ([], "unlinked while open")
    os.write(fd, b"x")
    os.close(fd)


def test_a_file_with_a_hole_is_passed_over(weights: Path) -> None:
    with (weights / "model-3.safetensors").open("wb") as file:
        file.truncate(64 * MIB)
    pieces, _, holes = space.existing([(path, size) for path, size in files(weights)])
    assert (len(pieces), holes) == (2, 1)
    heard = child({"files": [[str(weights / "model-3.safetensors"), 64 * MIB]], "seconds": 1, "bytes": 1 << 30})
    assert heard == {"source": {"part": "source", "kind": "files", "files": 0, "bytes": 0, "holes": 1}}


def test_no_byte_belongs_to_two_parts() -> None:
    pieces = [space.Piece(1, 1, 0, 5 * MIB), space.Piece(2, 2, 0, 95 * MIB)]
    made = space.shares(pieces, {"a": 0.35, "b": 0.2, "c": 0.45}, 60 * MIB)
    spans = sorted((p.fd, p.offset, p.offset + p.length) for part in made.values() for p in part)
    assert all(a[0] != b[0] or a[2] <= b[1] for a, b in itertools.pairwise(spans))
    assert {name: sum(p.length for p in part) // MIB for name, part in made.items()} == {"a": 21, "b": 12, "c": 27}
    assert max(end for _, _, end in spans) > 60 * MIB  # sampled over the whole length


def test_where_asynchronous_io_is_refused_threads_read(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aio, "_NUMBERS", {})
    pieces, _, _ = space.existing([(path, size) for path, size in files(weights)])
    meter = Meter(60)
    assert reading.sequential(pieces, meter) == "16 threads"
    assert meter.bytes == 2 * SHARD


def test_asynchronous_io_reads_all_of_it_and_says_errors(weights: Path) -> None:
    pieces, _, _ = space.existing([(path, size) for path, size in files(weights)])
    meter = Meter(600)
    assert reading.sequential(pieces, meter) == "16 in flight by io_submit"
    assert meter.bytes == 2 * SHARD
    with pytest.raises(OSError, match=r"[Bb]ad file descriptor"):
        reading.sequential([pieces[0]._replace(direct=9999)], Meter(60))
    with pytest.raises(OSError, match="short read"):  # the file ends before the piece does
        reading.sequential([pieces[0]._replace(length=2 * SHARD)], Meter(60))


def test_random_reading_ends_with_its_bytes(weights: Path) -> None:
    pieces, _, _ = space.existing([(path, size) for path, size in files(weights)])
    meter = Meter(600, 8 * MIB)
    reading.random_reads(pieces, meter)
    assert 8 * MIB <= meter.bytes < 9 * MIB


def test_a_part_that_fails_says_so_and_the_others_go_on(weights: Path) -> None:
    again = "import disk.reading as r;r.readers=lambda *a:(_ for _ in ()).throw(OSError(5,'Input/output error'));"
    code = RUN.replace("from disk.__main__", again + "from disk.__main__")
    heard = child({"files": files(weights), "seconds": 2, "bytes": 1 << 30}, code)
    assert heard["readers"]["failed"] == "input/output error"
    assert heard["mmap"]["bytes"] > 0


@pytest.mark.parametrize(("count", "expected"), [(3, (100.0, 100.0)), (20, (50.0, 150.0))])
def test_the_spread_needs_slices(monkeypatch: pytest.MonkeyPatch, count: int, expected: tuple[float, float]) -> None:
    clock = [0.0]
    monkeypatch.setattr("provision.payload.disk.meter.time.monotonic", lambda: clock[0])
    meter = Meter(100)
    for number in range(count):
        clock[0] += 1.0
        meter.add(100 if count == 3 else 50 if number % 2 else 150)
    assert meter.spread() == expected


def test_who_may_not_write_the_file_is_not_told_what_is_cached(weights: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("not root: cannot become another user")
    for path in (*weights.iterdir(), weights):
        path.chmod(0o755)
    become = "import os;os.setgroups([]);os.setgid(65534);os.setuid(65534);"
    heard = child({"files": files(weights), "seconds": 2, "bytes": 1 << 30}, RUN.replace("main(", become + "main("))
    assert heard["cache"]["held_after"] is None
    assert heard["sequential"]["bytes"] > 0
