"""What the role runs on the disks, on real ones: loop devices with real signatures, file systems, partitions and mounts.

A loop device has no serial number, so ``lsblk`` is a stand-in that gives it one; everything else is the real program. RAID 0
needs a kernel with md: tests/vm/test_volume.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "playbooks/roles/storage/files/volume.py"
FILES = "bbbbbbbb-0000-8000-8000-000000000000"
BYTES = 64 << 20
BYTES_FOR_XFS = 320 << 20  # mkfs.xfs makes none below 300 MiB (xfsprogs 6.1, 2026-11-24)


class Disk:
    """A loop device with the serial number S1, a folder to mount on, and the script's commands in a mount namespace."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mount_point = folder / "models"
        image = folder / "disk.img"
        with image.open("wb") as file:
            file.truncate(BYTES)
        self.device = sh("losetup", "--find", "--show", "--partscan", str(image)).strip()
        stand_in = folder / "bin/lsblk"
        stand_in.parent.mkdir()
        row = {"name": Path(self.device).name, "type": "disk", "size": BYTES, "model": "LOOP", "serial": "S1"}
        self.rows = [row]
        stand_in.write_text(f"#!/bin/sh\ncat {folder}/rows.json\n")
        stand_in.chmod(0o755)

    def plan(self, **changes: Any) -> dict[str, Any]:
        return {
            "disks": ["S1"],
            "level": "single",
            "filesystem": "ext4",
            "mount_point": str(self.mount_point),
            "read_ahead_kib": 512,
            "wipe": [],
            "array_uuid": "",
            "filesystem_uuid": FILES,
            **changes,
        }

    def ask(self, command: str, **changes: Any) -> subprocess.CompletedProcess[str]:
        (self.folder / "rows.json").write_text(json.dumps({"blockdevices": self.rows}))
        return subprocess.run(
            [sys.executable, "-I", str(SCRIPT), command, json.dumps(self.plan(**changes))],
            capture_output=True,
            text=True,
            env={**os.environ, "PATH": f"{self.folder}/bin:{os.environ['PATH']}:/usr/sbin:/sbin"},
            check=False,
        )

    def done(self, command: str, **changes: Any) -> list[str]:
        answer = self.ask(command, **changes)
        assert answer.returncode == 0, answer.stderr
        return list(json.loads(answer.stdout)["done"])

    def grow(self, size: int) -> None:
        with (self.folder / "disk.img").open("r+b") as file:
            file.truncate(size)
        sh("losetup", "--set-capacity", self.device)

    def bytes(self) -> bytes:
        return (self.folder / "disk.img").read_bytes()


def sh(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    if os.geteuid() != 0 or not Path("/dev/loop-control").exists():
        pytest.skip("no loop device: needs root and /dev/loop-control")
    one = Disk(tmp_path)
    try:
        yield one
    finally:
        subprocess.run(["umount", "--quiet", str(one.mount_point)], check=False, capture_output=True)
        subprocess.run(["umount", "--quiet", str(tmp_path / "other")], check=False, capture_output=True)
        sh("losetup", "--detach", one.device)


@pytest.mark.parametrize("filesystem", ["ext4", "xfs"])
def test_an_empty_disk_gets_the_planned_file_system_once(disk: Disk, filesystem: str) -> None:
    disk.grow(BYTES_FOR_XFS if filesystem == "xfs" else BYTES)
    assert disk.done("look", filesystem=filesystem) == []
    assert disk.done("make", filesystem=filesystem) == [f"made {filesystem} on {disk.device}"]
    assert sh("blkid", "--probe", "--output", "value", "--match-tag", "UUID", disk.device).strip() == FILES
    assert disk.done("make", filesystem=filesystem) == [], "a second run finds its own"
    before = disk.bytes()
    assert disk.done("look", filesystem=filesystem) == [] and disk.bytes() == before


def test_the_read_ahead_is_set_once(disk: Disk) -> None:
    disk.done("make")
    assert disk.done("read-ahead") == [f"{disk.device} is read 512 KiB ahead"]
    assert Path(f"/sys/class/block/{Path(disk.device).name}/queue/read_ahead_kb").read_text() == "512\n"
    assert disk.done("read-ahead") == []


def foreign_filesystem(disk: Disk) -> None:
    sh("mkfs.ext4", "-q", "-L", "precious", disk.device)


def table(disk: Disk) -> None:
    """A DOS partition table with one partition, from the second mebibyte on: what fdisk writes."""
    entry = bytes((0, 0, 2, 0, 0x83, 0, 0, 0)) + (2048).to_bytes(4, "little") + (4096).to_bytes(4, "little")
    with Path(disk.device).open("r+b") as file:
        file.seek(440)
        file.write(b"\1\2\3\4\0\0" + entry + bytes(48) + b"\x55\xaa")


def swap(disk: Disk) -> None:
    sh("mkswap", disk.device)


def lvm(disk: Disk) -> None:
    """What ``pvcreate`` writes into the second sector: the label that libblkid and lvm look for."""
    with Path(disk.device).open("r+b") as file:
        file.seek(512)
        file.write(
            b"LABELONE" + (1).to_bytes(8, "little") + bytes(4) + (32).to_bytes(4, "little") + b"LVM2 001" + b"A" * 32
        )


@pytest.mark.parametrize(
    ("put", "word"), [(foreign_filesystem, "ext4"), (table, "dos"), (swap, "swap"), (lvm, "LVM2_member")]
)
def test_what_holds_something_is_left_byte_for_byte(disk: Disk, put: Callable[[Disk], None], word: str) -> None:
    put(disk)
    before = disk.bytes()
    for command in ("look", "make"):
        refused = disk.ask(command)
        assert refused.returncode == 1
        assert word in refused.stderr and 'storage.wipe = ["S1"]' in refused.stderr
        assert disk.ask(command, wipe=["S2"]).returncode == 1, "another disk's consent is none"
    assert disk.bytes() == before


@pytest.mark.parametrize("put", [foreign_filesystem, table, swap, lvm])
def test_with_its_serial_number_it_is_taken(disk: Disk, put: Callable[[Disk], None]) -> None:
    put(disk)
    destroyed, made = disk.done("make", wipe=["S1"])
    assert destroyed.startswith(f"destroyed S1 ({disk.device}): ") and made == f"made ext4 on {disk.device}"
    found = json.loads(sh("wipefs", "--no-act", "--json", disk.device))["signatures"]
    assert [(one["type"], one["uuid"]) for one in found] == [("ext4", FILES)]


def test_what_is_mounted_is_never_taken(disk: Disk) -> None:
    foreign_filesystem(disk)
    (disk.folder / "other").mkdir()
    sh("mount", disk.device, str(disk.folder / "other"))
    refused = disk.ask("make", wipe=["S1"])
    assert refused.returncode == 1 and "is in use" in refused.stderr
    assert (disk.folder / "other/lost+found").is_dir()


def test_a_disk_that_is_not_here_or_not_the_only_one(disk: Disk) -> None:
    assert "S9: no disk here has this serial number or name" in disk.ask("make", disks=["S9"]).stderr
    disk.rows.append({**disk.rows[0], "name": "loop-control"})
    refused = disk.ask("make")
    assert refused.returncode == 1 and f"S1 is the serial number of {disk.device}, /dev/loop-control" in refused.stderr


def test_a_folder_that_holds_something_is_not_hidden(disk: Disk) -> None:
    disk.mount_point.mkdir()
    (disk.mount_point / "notes").write_text("mine")
    refused = disk.ask("make")
    assert refused.returncode == 1 and "is not an empty folder" in refused.stderr
    assert set(disk.bytes()) == {0}, "nothing was written"


def test_removing_unmounts_and_forgets_only_its_own(disk: Disk) -> None:
    disk.done("make")
    disk.mount_point.mkdir()
    sh("mount", disk.device, str(disk.mount_point))
    assert disk.done("make") == [] and disk.done("look") == []
    assert disk.done("remove", forget=False, stop=False) == [f"unmounted {disk.mount_point}"]
    assert disk.done("make") == [], "it was not forgotten"
    assert disk.done("remove", forget=True, stop=False) == [f"removed the file system on {disk.device}"]
    assert sh("wipefs", "--no-act", disk.device) == ""
    foreign_filesystem(disk)
    before = disk.bytes()
    assert disk.done("remove", forget=True, stop=False) == [] and disk.bytes() == before


def test_removing_waits_for_who_uses_it(disk: Disk) -> None:
    disk.done("make")
    disk.mount_point.mkdir()
    sh("mount", disk.device, str(disk.mount_point))
    with (disk.mount_point / "open").open("w"):
        refused = disk.ask("remove", forget=True, stop=False)
    assert refused.returncode == 1 and "busy" in refused.stderr
    assert sh("blkid", "--probe", "--output", "value", "--match-tag", "UUID", disk.device).strip() == FILES
