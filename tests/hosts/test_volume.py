"""The volume's role through real Ansible: one disk, a loop device, on a fresh machine. RAID 0 needs md: tests/vm.

A loop device has no serial number: ``lsblk`` is a stand-in that gives it one, and says what the real ``blkid`` and
``findmnt`` see.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

CONTENT = b"weights " * 100_000
LSBLK = """#!/usr/bin/python3
import json, subprocess, sys
def ask(*command):
    return subprocess.run(command, capture_output=True, text=True).stdout
seen = dict(line.split("=", 1) for line in ask("blkid", "--probe", "--output", "export", "{device}").splitlines())
row = {{"name": "{name}", "maj:min": "7:0", "type": "disk", "size": {size}, "model": "LOOP", "serial": "S1",
    "fstype": seen.get("TYPE"), "label": seen.get("LABEL"), "uuid": seen.get("UUID"), "pttype": seen.get("PTTYPE"),
    "mountpoint": ask("findmnt", "--noheadings", "--output", "TARGET", "--source", "{device}").strip() or None}}
print(json.dumps({{"blockdevices": [row]}}))
"""
MAKE = "Make the array and the file system"
SIZE = 64 << 20


@pytest.fixture(scope="module")
def machine(make_fresh, tmp_path_factory) -> Iterator:
    image = tmp_path_factory.mktemp("disk") / "disk.img"
    with image.open("wb") as file:
        file.truncate(SIZE)
    found = subprocess.run(["losetup", "--find", "--show", str(image)], capture_output=True, text=True, check=False)
    if found.returncode != 0:
        pytest.skip(f"no loop device: {found.stderr.strip()}")
    device = found.stdout.strip()
    try:
        for one in make_fresh("volume"):
            one.device = device
            lsblk = LSBLK.format(device=device, name=Path(device).name, size=SIZE)
            put(one, "/usr/local/sbin/lsblk", lsblk)
            one.run("chmod", "755", "/usr/local/sbin/lsblk")
            one.run("rm", "-f", "/etc/fstab")
            source = one.shared / "tiny"
            source.mkdir()
            (source / "model.safetensors").write_bytes(CONTENT)
            one.before = one.state()
            yield one
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


def put(machine, path: str, text: str) -> None:
    (machine.shared / "text").write_text(text)
    machine.run("cp", str(machine.shared / "text"), path)


def options(machine, **changes) -> str:
    model = {
        "source": str(machine.shared / "tiny"),
        "sha256": {"model.safetensors": hashlib.sha256(CONTENT).hexdigest()},
    }
    wish = {"disks": ["S1"], "level": "single", "filesystem": "ext4", "read_ahead_kib": 512, "model": model, **changes}
    return json.dumps({"only": "storage", "storage": wish})


def apply(machine, run: str, **changes):
    command = ("apply", str(machine.shared / run), options(machine, **changes))
    return machine.drive(*command, check=False)


def test_everything_is_foreseen_and_nothing_changed(machine) -> None:
    seen = machine.drive("preview", str(machine.shared / "1"), options(machine))["changes"]
    disks = [(c["kind"], c["what"].split(" ")[0], c["needs"]) for c in seen if c["kind"] in ("disk", "mount", "model")]
    assert disks == [
        ("disk", "S1", "disks"),
        ("disk", "ext4", "disks"),
        ("mount", "/srv/models", "disks"),
        ("disk", "read-ahead", None),
        ("model", "/srv/models/tiny", None),
    ]
    checked = machine.drive("check", str(machine.shared / "1"), options(machine))["results"]
    assert not [r for r in checked if r["kind"] in ("disk", "mount", "model")]
    assert machine.run("wipefs", "--no-act", machine.device).stdout == ""
    assert machine.state() == machine.before


def test_the_volume_is_made_mounted_and_filled(machine) -> None:
    answer = apply(machine, "2")
    assert "error" not in answer, answer
    assert {MAKE, "/etc/fstab", "Mount it", "Set the read-ahead", "Place model.safetensors"} <= set(answer["changed"])
    mounted = machine.run("findmnt", "--noheadings", "--output", "SOURCE,FSTYPE,OPTIONS", "/srv/models").stdout.split()
    assert mounted[:2] == [machine.device, "ext4"] and "noatime" in mounted[2]
    assert (
        machine.run("sha256sum", "/srv/models/tiny/model.safetensors").stdout.split()[0]
        == hashlib.sha256(CONTENT).hexdigest()
    )


def test_the_second_run_changes_nothing(machine) -> None:
    answer = apply(machine, "3")
    assert (answer["changed"], answer["stats"]["failures"]) == ([], 0)
    changes = machine.drive("preview", str(machine.shared / "3"), options(machine))["changes"]
    assert not [c for c in changes if c["kind"] in ("disk", "mount", "model") or c["what"] == "/etc/fstab"]


def test_a_wrong_checksum_is_an_error_that_names_the_file(machine) -> None:
    wrong = {"source": str(machine.shared / "tiny"), "folder": "other", "sha256": {"model.safetensors": "0" * 64}}
    answer = apply(machine, "4", model=wrong)
    assert answer["error"] == "ChangeError"
    assert f"{machine.shared}/tiny/model.safetensors has SHA-256" in answer["message"]
    assert machine.run("ls", "-A", "/srv/models/other").stdout == ""


def test_undoing_gives_the_machine_back(machine) -> None:
    for run in ("4", "3", "2"):
        undone = machine.drive("undo", str(machine.shared / run))
        assert undone["kept"] == []
    assert machine.run("findmnt", "/srv/models", check=False).returncode == 1
    assert machine.run("wipefs", "--no-act", machine.device).stdout == ""
    assert machine.run("test", "-e", "/etc/fstab", check=False).returncode == 1
    assert machine.run("test", "-e", "/srv/models", check=False).returncode == 1
    assert machine.state() == machine.before


def test_a_disk_that_holds_something_stops_the_run_before_anything_is_changed(machine) -> None:
    machine.run("mkfs.ext4", "-q", "-L", "mine", machine.device)
    first = machine.run("sha256sum", machine.device).stdout
    refused = machine.drive("preview", str(machine.shared / "5"), options(machine), check=False)
    assert refused["error"] == "ConsentNeeded" and 'holds ext4 "mine"' in refused["message"]
    answer = apply(machine, "5")  # past the preview: what the role itself says
    assert answer["error"] == "ChangeError" and 'storage.wipe = ["S1"]' in answer["message"]
    assert machine.run("sha256sum", machine.device).stdout == first
    assert machine.run("test", "-e", "/etc/fstab", check=False).returncode == 1
