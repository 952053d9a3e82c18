"""STO110 to STO114: the planned volume, on both sides."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from provision.fact import Absent, Missing
from provision.facts.block import BlockQueue, BlockQueues
from provision.facts.contents import ArrayContent, DiskContent, DiskContents
from provision.facts.disks import Mount, Mounts
from provision.plan import Storage, Volume

ARRAY, FILES = "aaaaaaaa-0000-8000-8000-000000000000", "bbbbbbbb-0000-8000-8000-000000000000"
VOLUME = Volume(
    disks=("S1", "S2"),
    level="raid0",
    filesystem="xfs",
    mount_point="/srv/models",
    options=("noatime",),
    read_ahead_kib=4096,
    wipe=(),
    array_uuid=ARRAY,
    filesystem_uuid=FILES,
    packages=("mdadm", "xfsprogs"),
    fstab="",
    model=None,
)
SINGLE = dataclasses.replace(VOLUME, disks=("S1",), level="single", array_uuid="")
CODES = ("STO110", "STO111", "STO112", "STO113", "STO114")


def disk(number: int, **changes: Any) -> DiskContent:
    fields: dict[str, Any] = {
        "name": f"nvme{number}n1",
        "model": "MODEL",
        "serial": f"S{number}",
        "by_id": (f"/dev/disk/by-id/nvme-MODEL_S{number}",),
        "bytes": 1 << 40,
        "holds": ("linux_raid_member on nvme0n1",),
        "in_use": (f"nvme{number}n1 is part of md0 (raid0)",),
        "member_of": ARRAY,
        "filesystem_uuid": None,
        "looked": True,
    }
    return DiskContent(**{**fields, **changes})


def array(**changes: Any) -> ArrayContent:
    fields: dict[str, Any] = {
        "name": "md0",
        "uuid": ARRAY,
        "level": "raid0",
        "members": ("nvme1n1", "nvme2n1"),
        "filesystem": "xfs",
        "filesystem_uuid": FILES,
        "mount_point": "/srv/models",
    }
    return ArrayContent(**{**fields, **changes})


WHOLE = DiskContents(disks=(disk(1), disk(2)), arrays=(array(),))
EMPTY = {"holds": (), "in_use": (), "member_of": None}


@pytest.fixture
def say(a: Any, messages: Any) -> Any:
    """What a check finds on the machine with its volume, with what is given changed."""

    def said(code: str, contents: DiskContents = WHOLE, volume: Volume | None = VOLUME, **facts: Any) -> Any:
        return messages(code, contents, *around(a, volume, **facts))

    return said


def around(a: Any, volume: Volume | None, ahead: int = 4096, mount: str = "/srv/models", disks: Any = ("md0",)) -> Any:
    mounts = (a(Mount), a(Mount, mount_point=mount, source="/dev/md0", filesystem="xfs", disks=disks))
    queue = BlockQueue(disk="md0", read_ahead_bytes=ahead * 1024, scheduler=None)
    return a(Storage, volume=volume), a(Mounts, mounts=mounts), BlockQueues(queues=(queue,))


@pytest.mark.parametrize("code", CODES)
def test_a_volume_as_planned_is_well(say: Any, code: str) -> None:
    assert say(code) == []


@pytest.mark.parametrize("code", CODES)
def test_no_volume_is_planned(run_check: Any, a: Any, code: str) -> None:
    for contents in (WHOLE, {DiskContents: Missing("closed")}):
        assert run_check(code, contents, *around(a, None)).outcome == "skipped"
    assert run_check(code, {DiskContents: Absent("lsblk is not installed")}, *around(a, VOLUME)).outcome == "unknown"


def test_sto110_names_the_disk_that_is_not_here(say: Any) -> None:
    (said,) = say("STO110", DiskContents(disks=(disk(1),), arrays=()))
    assert said == "no disk here is S2; the plan's volume needs it"
    by_id = dataclasses.replace(VOLUME, disks=("nvme-MODEL_S1", "S2"))
    assert say("STO110", volume=by_id) == []


@pytest.mark.parametrize(
    ("changes", "wipe", "says"),
    [
        ({**EMPTY}, (), None),
        ({**EMPTY, "holds": ("ext4 on nvme2n1",)}, (), "S2 (nvme2n1) holds ext4 on nvme2n1"),
        ({**EMPTY, "holds": ("ext4 on nvme2n1",)}, ("S2",), None),
        ({**EMPTY, "holds": ("ext4 on nvme2n1",)}, ("S1",), "S2 (nvme2n1) holds ext4 on nvme2n1"),
        ({**EMPTY, "in_use": ("nvme2n1 is swap",)}, ("S2",), "S2 (nvme2n1) holds nvme2n1 is swap"),
        ({"member_of": FILES, "in_use": ()}, (), "S2 (nvme2n1) holds linux_raid_member on nvme0n1"),
    ],
)
def test_sto111_finds_what_is_not_ours(
    say: Any, changes: dict[str, Any], wipe: tuple[str, ...], says: str | None
) -> None:
    contents = DiskContents(disks=(disk(1), disk(2, **changes)), arrays=())
    assert say("STO111", contents, dataclasses.replace(VOLUME, wipe=wipe)) == ([says] if says else [])


def test_sto111_empty_as_far_as_nobody_looked_is_not_empty(run_check: Any, a: Any) -> None:
    contents = DiskContents(disks=(disk(1), disk(2, **EMPTY, looked=False)), arrays=())
    result = run_check("STO111", contents, *around(a, VOLUME))
    assert (result.outcome, result.reason) == ("unknown", "what nvme2n1 holds cannot be seen without root")


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ((), "no array of that UUID runs; the plan is a RAID 0 of 2 disks"),
        ((array(uuid=FILES),), "no array of that UUID runs; the plan is a RAID 0 of 2 disks"),
        ((array(members=("nvme1n1",)),), "md0 has 1 member: nvme1n1; the plan is a RAID 0 of 2 disks"),
    ],
)
def test_sto112_wants_every_member(say: Any, arrays: Any, says: str) -> None:
    assert say("STO112", DiskContents(disks=WHOLE.disks, arrays=arrays)) == [says]


def test_sto112_is_about_arrays(run_check: Any, a: Any) -> None:
    assert run_check("STO112", WHOLE, *around(a, SINGLE)).outcome == "skipped"


def test_sto113_wants_the_planned_file_system_at_its_place(say: Any) -> None:
    assert say("STO113", mount="/srv/other") == [f"nothing is mounted on /srv/models; the plan is xfs {FILES}"]
    (said,) = say("STO113", disks=("sda",))
    assert said == f"/dev/md0 (xfs) is mounted on /srv/models; the plan is xfs {FILES}"


@pytest.mark.parametrize(("ahead", "found"), [(4096, 0), (4095, 1), (8192, 1)])
def test_sto114_compares_the_read_ahead(say: Any, ahead: int, found: int) -> None:
    assert len(say("STO114", ahead=ahead)) == found


def test_sto114_without_a_device_or_a_wish_or_a_look(run_check: Any, a: Any) -> None:
    gone = DiskContents(disks=WHOLE.disks, arrays=())
    assert run_check("STO114", gone, *around(a, VOLUME)).outcome == "skipped"
    assert run_check("STO114", WHOLE, *around(a, dataclasses.replace(VOLUME, read_ahead_kib=None))).outcome == "skipped"
    storage, mounts, _ = around(a, VOLUME)
    for unseen, outcome in (
        (Missing("closed"), "unknown"),
        (Absent("none"), "unknown"),
        (BlockQueues(queues=()), "unknown"),
    ):
        assert run_check("STO114", WHOLE, storage, mounts, {BlockQueues: unseen}).outcome == outcome
