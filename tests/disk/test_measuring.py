"""What is chosen to be read, and what is made of the child's words, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from provision.child import follow_child
from provision.disk import measuring
from provision.disk.measuring import PARTS, Source, gathered, measure, source
from provision.disk.model import Checkpoint, WeightFile
from provision.facts.place import Layer, Place

GIB = 1 << 30
LINE = {"bytes": 1 << 20, "seconds": 0.5, "low": 1.0, "high": 3.0, "method": "m"}
CACHE = {"part": "cache", "held_before": 0.0, "held_after": 0.0, "direct": True, "refused": ""}
WRITTEN = {"part": "source", "kind": "written", "how": "O_TMPFILE", "bytes": 64 << 20, "seconds": 1.0, "direct": True}


def at(path: str, kind: Any = "disk") -> Place:
    return Place(
        path=path,
        mount_point="/",
        filesystem="ext4",
        source="/dev/sda",
        options=("rw",),
        network=False,
        layers=(Layer(kind=kind, name="sda", detail=""),),
        disks=("sda",),
        unseen="",
    )


def model(size: int) -> Checkpoint:
    file = WeightFile(path="/m/a.safetensors", bytes=size)
    return Checkpoint(name="/m", files=(file,), bytes=size, whole=True)


def room(total: int, free: int) -> dict[str, int]:
    return {"block_size": 4096, "blocks": total // 4096, "available_blocks": free // 4096}


@pytest.mark.parametrize(("size", "reads"), [(measuring.LEAST_BYTES, True), (measuring.LEAST_BYTES - 1, False)])
def test_files_are_read_from_256_mib_on_and_else_one_is_written(size: int, reads: bool) -> None:
    made = source(at("/m"), model(size), room(100 * GIB, 50 * GIB), True, True)
    assert bool(made.files) == reads
    assert made.folder == ("" if reads else "/m")


def test_five_per_cent_or_a_gib_stay_free() -> None:
    assert source(at("/m"), None, room(100 * GIB, 50 * GIB), True, True).reserve_bytes == 5 * GIB
    assert source(at("/m"), None, room(10 * GIB, 5 * GIB), True, True).reserve_bytes == GIB
    least = measuring.LEAST_BYTES // 4
    assert source(at("/m"), None, room(10 * GIB, GIB + least), True, True).refused == ""
    assert "too little" in source(at("/m"), None, room(10 * GIB, GIB + least - 4096), True, True).refused


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ((None, room(GIB, GIB), True, False), "--read-only forbids"),
        ((None, room(GIB, GIB), False, True), "not writable"),
        ((None, None, True, True), "does not say how much room"),
        ((None, room(0, 0), True, True), "kernel's own window"),
    ],
)
def test_why_nothing_is_written(given: Any, why: str) -> None:
    made = source(at("/m"), *given)
    assert (made.files, made.folder) == ((), "")
    assert why in made.refused
    measured = measure(at("/m"), made, 1, 1)
    assert set(measured.unmeasured) == set(PARTS) and measured.parts == {}


def test_what_was_heard_before_the_end_is_kept() -> None:
    lines = [WRITTEN, CACHE, {"part": "sequential", **LINE}, {"part": "readers", "failed": "input/output error"}]
    made = gathered(lines, "gave no answer in 10 s", False)
    assert made.rate("sequential") == 2 << 20
    assert made.unmeasured["readers"] == "input/output error"
    assert {made.unmeasured[part] for part in ("mmap", "random")} == {"gave no answer in 10 s"}
    assert made.cold is True


@pytest.mark.parametrize(
    ("cache", "memory", "said", "cold"),
    [
        (CACHE, False, "0.00% stayed", True),
        (CACHE | {"held_after": 0.011}, False, "1.10% stayed", False),
        (CACHE | {"held_after": 0.01}, False, "1.00% stayed", True),
        (CACHE | {"held_after": None}, False, "not told to this user", None),
        (CACHE | {"held_after": None}, True, "nothing can be cold", None),
        (
            CACHE | {"direct": False, "refused": "invalid argument"},
            False,
            "O_DIRECT was refused (invalid argument)",
            True,
        ),
    ],
)
def test_the_method_says_what_was_done(cache: Any, memory: bool, said: str, cold: bool | None) -> None:
    made = gathered([WRITTEN, cache], "", memory)
    assert said in "; ".join(made.method)
    assert "wrote 64 MiB of random bytes past the page cache" in made.method[0]
    assert made.cold is cold


def test_a_child_that_hangs_is_ended_and_its_words_kept() -> None:
    heard: list[str] = []
    code = "import time;print('one',flush=True);time.sleep(600)"
    status, why = follow_child((sys.executable, "-c", code), 1.0, heard.append, "the disk")
    assert (status, heard) == (-signal.SIGKILL, ["one\n"])
    assert why == "the disk gave no answer in 1 s"


def test_an_error_under_a_mapped_file_is_said() -> None:
    status, why = follow_child((sys.executable, "-c", "import os;os.kill(os.getpid(),7)"), 60, lambda _: None, "x")
    assert measuring._ended(status, why) == "reading the mapped file failed: an I/O error (SIGBUS)"
    status, why = follow_child((sys.executable, "-c", "raise ValueError('bad')"), 60, lambda _: None, "x")
    assert measuring._ended(status, why) == "the measurement ended with status 1: ValueError: bad"


def test_a_hung_disk_leaves_reasons_and_no_file(on_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child stops as if a read never came back: a payload that sleeps stands in for it."""
    payload = on_disk / "payload/disk"
    payload.mkdir(parents=True)
    (payload / "__init__.py").touch()
    sleep = f"print(json.dumps({WRITTEN}),flush=True);open(r['folder']+'/'+r['name'],'w');time.sleep(600)"
    (payload / "__main__.py").write_text(f"import json,time\ndef main(r):\n    {sleep}\n")
    monkeypatch.setattr(measuring, "PAYLOAD", payload.parent)
    monkeypatch.setattr(measuring, "GRACE_SECONDS", 0.5)
    made = measure(at(str(on_disk)), Source(folder=str(on_disk)), 0.5, GIB)
    assert set(made.unmeasured.values()) == {"the disk gave no answer in 1 s"}
    assert [path.name for path in on_disk.iterdir()] == ["payload"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_no_file_and_no_child(on_disk: Path, number: int) -> None:
    command = [
        str(Path(sys.executable).with_name("provision")),
        "disk",
        str(on_disk),
        "--seconds",
        "120",
        "--gib",
        "400",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=on_disk) as one:
        child = None
        while child is None and one.poll() is None:
            listing = subprocess.run(["pgrep", "-P", str(one.pid)], capture_output=True, text=True, check=False).stdout
            child = next((int(word) for word in listing.split() if _writes(int(word))), None)
            time.sleep(0.05)
        assert child is not None
        one.send_signal(number)
        assert one.wait(60) == (130 if number == signal.SIGINT else -signal.SIGTERM)
    assert list(on_disk.iterdir()) == []
    if number == signal.SIGTERM:  # nobody is left to end it: it ends where it says its next word
        os.kill(child, signal.SIGKILL)


def _writes(process: int) -> bool:
    """Whether the child has its nameless file open."""
    try:
        targets = [str(path.readlink()) for path in Path(f"/proc/{process}/fd").iterdir()]
    except OSError:
        return False
    return any("deleted" in target and ".disk-test-" in target for target in targets)


def test_progress_is_said_on_standard_error_after_two_seconds(on_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(measuring, "say", said.append)
    monkeypatch.setattr(measuring, "QUIET_SECONDS", 0.0)
    measure(at(str(on_disk)), Source(folder=str(on_disk)), 0.5, 64 << 20)
    assert said == [f"measuring {on_disk}: at most 0.5 s and 0.0625 GiB"]
