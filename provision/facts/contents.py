"""What every disk holds and who uses it: by serial number, so that it can be named for good."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator
from typing import Any

from provision.fact import Absent, Missing, fact, probe
from provision.host import DEADLINE_SECONDS, Host
from provision.record import record

COLUMNS = "NAME,MAJ:MIN,TYPE,SIZE,MODEL,SERIAL,FSTYPE,LABEL,UUID,PTTYPE,MOUNTPOINT"
BY_ID = "/dev/disk/by-id/"


@record
class DiskContent:
    name: str  # "nvme0n1", as in Disks
    model: str | None
    serial: str | None  # None where the disk has none, as most virtual ones
    by_id: tuple[str, ...]  # full paths below /dev/disk/by-id, sorted; empty without udev
    bytes: int
    holds: tuple[str, ...]  # what is on it, in words: "a gpt partition table", "ext4 on nvme0n1p1"; empty: no signature
    in_use: tuple[str, ...]  # who has it now: "nvme0n1p1 is mounted on /", "sda is part of md0 (raid1)"
    member_of: str | None  # UUID of the md array whose member it is, as blkid writes it
    filesystem_uuid: str | None  # of a file system on the whole disk
    looked: bool  # False: nobody here may read it and udev has not, so that empty "holds" says nothing


@record
class ArrayContent:
    name: str  # "md127"
    uuid: str | None  # as in DiskContent.member_of
    level: str  # "raid0"
    members: tuple[str, ...]  # names of disks and partitions, sorted
    filesystem: str | None
    filesystem_uuid: str | None
    mount_point: str | None  # one of them


@fact
class DiskContents:
    """Whole disks and md arrays. No loop device, no RAM disk, no empty drive."""

    disks: tuple[DiskContent, ...]  # sorted by name; at least one
    arrays: tuple[ArrayContent, ...]  # sorted by name


@probe
def disk_contents(host: Host) -> DiskContents:
    """Serial numbers, names that stay, signatures, partitions, mounts, and arrays with their members.

    Sources: ``lsblk`` (from udev's database, and for root without udev by reading the disk), ``/dev/disk/by-id``.
    """
    return look(host)


def look(host: Host, seconds: float = DEADLINE_SECONDS) -> DiskContents:
    """The same for whoever is about to change a disk, and rather waits: a busy machine took more than two seconds."""
    said = host.run("lsblk", "--json", "--bytes", "--output", COLUMNS, timeout=seconds)
    try:
        rows: list[dict[str, Any]] = json.loads(said)["blockdevices"]
    except (ValueError, KeyError, TypeError):
        raise Missing("lsblk's answer is not the JSON that it documents") from None
    names = _lasting_names(host)
    found = [
        row for row in rows if row["type"] == "disk" and row["size"] and not row["name"].startswith(("zram", "ram"))
    ]
    if not found:
        raise Absent("no disk is visible here")
    root = host.user()["uid"] == 0
    return DiskContents(
        disks=tuple(sorted((_disk(host, row, names, root) for row in found), key=lambda d: d.name)),
        arrays=_arrays(rows),
    )


def _lasting_names(host: Host) -> dict[str, list[str]]:
    """Kernel name to its names below by-id."""
    names: dict[str, list[str]] = {}
    for path in host.glob(f"{BY_ID}*"):
        names.setdefault(posixpath.basename(host.link(path)), []).append(path)
    return names


def _disk(host: Host, row: dict[str, Any], names: dict[str, list[str]], root: bool) -> DiskContent:
    everything = tuple(_below(row))
    return DiskContent(
        name=row["name"],
        model=_word(row["model"]),
        serial=_word(row["serial"]),
        by_id=tuple(sorted(names.get(row["name"], ()))),
        bytes=row["size"],
        holds=tuple(words for one in everything if one["type"] in ("disk", "part") for words in _signatures(one)),
        in_use=tuple(words for parent, one in _pairs(row) for words in _uses(parent, one)),
        member_of=row["uuid"] if row["fstype"] == "linux_raid_member" else None,
        filesystem_uuid=row["uuid"] if row["fstype"] and row["fstype"] != "linux_raid_member" else None,
        looked=root or host.exists(f"/run/udev/data/b{row['maj:min']}"),
    )


def _below(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield row
    for child in row.get("children", ()):
        yield from _below(child)


def _pairs(
    row: dict[str, Any], parent: dict[str, Any] | None = None
) -> Iterator[tuple[dict[str, Any] | None, dict[str, Any]]]:
    yield parent, row
    for child in row.get("children", ()):
        yield from _pairs(child, row)


def _signatures(one: dict[str, Any]) -> Iterator[str]:
    if one["pttype"] and one["type"] == "disk":  # a partition row repeats its disk's
        yield f"a {one['pttype']} partition table"
    if one["type"] == "part" and not one["fstype"]:
        yield f"partition {one['name']}"
    if one["fstype"]:
        label = f' "{one["label"]}"' if one["label"] else ""
        yield f"{one['fstype']}{label} on {one['name']}"


def _uses(parent: dict[str, Any] | None, one: dict[str, Any]) -> Iterator[str]:
    if parent is not None and one["type"] != "part":
        yield f"{parent['name']} is part of {one['name']} ({one['type']})"
    if one["mountpoint"]:
        yield f"{one['name']} is {'swap' if one['mountpoint'] == '[SWAP]' else 'mounted on ' + one['mountpoint']}"


def _arrays(rows: list[dict[str, Any]]) -> tuple[ArrayContent, ...]:
    """lsblk shows an array under each of its members, and at the top where it has none."""
    seen: dict[str, dict[str, Any]] = {}
    members: dict[str, set[str]] = {}
    uuids: dict[str, str | None] = {}
    for row in rows:
        for parent, one in _pairs(row):
            if one["type"].startswith(("raid", "linear")) or (one["name"].startswith("md") and one["type"] == "md"):
                seen[one["name"]] = one
                if parent is not None:
                    members.setdefault(one["name"], set()).add(parent["name"])
                    uuids[one["name"]] = parent["uuid"]
    return tuple(
        ArrayContent(
            name=name,
            uuid=uuids.get(name),
            level=one["type"],
            members=tuple(sorted(members.get(name, ()))),
            filesystem=one["fstype"],
            filesystem_uuid=one["uuid"] if one["fstype"] else None,
            mount_point=one["mountpoint"],
        )
        for name, one in sorted(seen.items())
    )


def _word(said: str | None) -> str | None:
    return (said or "").strip() or None
