"""On real file systems that are made for the test: what they stand on, and what of them can be measured."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PROVISION = str(Path(sys.executable).with_name("provision"))
GIB = 1 << 30
Make = Callable[[str], Path]


def run(*command: Any) -> str:
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True).stdout


def measured(path: Path, *options: str) -> dict[str, Any]:
    command = [PROVISION, "disk", str(path), "--json", "--seconds", "2", "--gib", "0.25", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 3), done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture
def mounted(on_disk: Path) -> Iterator[Make]:
    """``mounted("xfs")``: a new file system in a file on the disk, mounted through a loop device."""
    if os.geteuid() != 0:
        pytest.skip("no file system: needs root")
    points: list[Path] = []

    def make(kind: str) -> Path:
        if shutil.which(f"mkfs.{kind}") is None:
            pytest.skip(f"no file system: needs mkfs.{kind}")
        image, point = on_disk / f"{kind}.img", on_disk / kind
        with image.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, 2 * GIB)
        run(f"mkfs.{kind}", image)
        mount("-o", "loop", image, point)
        return point

    def mount(*words: Any) -> None:
        words[-1].mkdir()
        done = subprocess.run(["mount", *map(str, words)], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no file system: {done.stderr.strip()}")
        points.append(words[-1])

    make.mount = mount  # type: ignore[attr-defined]
    try:
        yield make
    finally:
        for point in reversed(points):
            run("umount", point)


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_a_loop_mount_stands_on_the_disk_of_its_file(mounted: Make, kind: str) -> None:
    point = mounted(kind)
    free = os.statvfs(point).f_bavail
    found = measured(point)
    assert found["filesystem"] == kind
    assert [layer["kind"] for layer in found["layers"]][:1] == ["loop"]
    assert found["layers"][0]["detail"].endswith(f"{kind}.img")
    assert found["unmeasured"] == {}
    assert os.statvfs(point).f_bavail == free
    assert [path.name for path in point.iterdir() if path.name != "lost+found"] == []


def test_nearly_full_it_writes_nothing(mounted: Make) -> None:
    point = mounted("ext4")
    room = os.statvfs(point)
    with (point / "full").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - GIB - (32 << 20))
    found = measured(point)
    assert "too little for a temporary file" in found["unmeasured"]["sequential"]
    assert found["sequential_read_bytes_per_s"] is None


def test_a_tmpfs_is_memory(mounted: Any, on_disk: Path) -> None:
    mounted.mount("-t", "tmpfs", "-o", "size=3g", "tmpfs", on_disk / "t")
    found = measured(on_disk / "t")
    assert (found["kind"], found["unmeasured"]) == ("memory", {})
    assert "nothing can be cold" in found["method"]


def test_an_overlay_stands_where_its_upper_folder_does(mounted: Any, on_disk: Path) -> None:
    for name in ("low", "up", "work"):
        (on_disk / name).mkdir()
    options = f"lowerdir={on_disk}/low,upperdir={on_disk}/up,workdir={on_disk}/work"
    mounted.mount("-t", "overlay", "-o", options, "overlay", on_disk / "o")
    found = measured(on_disk / "o")
    assert found["layers"][0] == {"kind": "overlay", "name": f"{on_disk}/up", "detail": ""}
    assert found["layers"][-1]["kind"] == "disk"
    assert found["sequential_read_bytes_per_s"]
    assert list((on_disk / "up").iterdir()) == []


def test_a_read_only_mount_is_read_and_not_written(mounted: Any) -> None:
    point = mounted("ext4")
    with (point / "m.safetensors").open("wb") as file:
        for _ in range(5):
            file.write(os.urandom(64 << 20))
    run("mount", "-o", "remount,ro", point)
    found = measured(point)
    assert "ro" in found["options"] and "wrote nothing" in found["method"]
    assert found["sequential_read_bytes_per_s"] and found["load_seconds"]["cold"]["mmap"]
    (empty := point / "lost+found").exists()
    assert "not writable" in measured(empty)["unmeasured"]["sequential"]
