"""The planned volume as the machine has it now: what applying would make, what it would destroy, what undoing takes back.

This is what is shown and agreed to. The role looks anew before it writes (playbooks/roles/storage/files/volume.py).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from provision.errors import ChangeError, ConsentNeeded
from provision.fact import Absent, Missing
from provision.facts.contents import BY_ID, DiskContent, DiskContents
from provision.facts.contents import look as look_at_disks
from provision.facts.reading import whole
from provision.host import Host
from provision.plan.storage import Volume
from provision.record import record

SLOW_SECONDS = 30.0
OWN_FILES = (".provision-placed.json", "lost+found")


@record
class VolumeState:
    """``disks``: those that were found, in the plan's order. ``array``, ``filesystem``: there, known by the plan's UUIDs.


    ``blank``: the array runs and nothing is on it yet. ``mounted``: it is what the mount point shows. ``placed``: those of
    the model's files that are there.
    """

    disks: tuple[DiskContent, ...]
    missing: tuple[str, ...]
    array: bool
    blank: bool
    filesystem: bool
    mounted: bool
    placed: tuple[str, ...]
    read_ahead_kib: int | None = None  # None: there is no device yet


@record
class VolumeBefore:
    """What of a run's volume was there before it, kept with its evidence."""

    volume: Volume
    array: bool
    filesystem: bool
    mounted: bool
    placed: tuple[str, ...]


def look(host: Host, volume: Volume) -> VolumeState:
    """Raises ``ChangeError`` where the disks cannot be looked at."""
    try:
        seen = look_at_disks(host, SLOW_SECONDS)
    except (Absent, Missing) as reason:
        raise ChangeError(f"the disks of storage.disks cannot be looked at: {reason.reason}", "lsblk") from None
    found = [(name, named(seen, name)) for name in volume.disks]
    disks = tuple(disk for _, disk in found if disk is not None)
    uuid = volume.filesystem_uuid
    on_array = [one for one in seen.arrays if one.uuid == volume.array_uuid and one.filesystem_uuid == uuid]
    source = _mounted(host, volume.mount_point)
    device = on_array[0].name if on_array else next((d.name for d in disks if d.filesystem_uuid == uuid), "")
    mounted = bool(device) and source == device
    return VolumeState(
        disks=disks,
        missing=tuple(name for name, disk in found if disk is None),
        array=bool(volume.array_uuid) and any(disk.member_of == volume.array_uuid for disk in disks),
        blank=any(one.uuid == volume.array_uuid and one.filesystem is None for one in seen.arrays),
        filesystem=bool(device),
        mounted=mounted,
        placed=tuple(_placed(host, volume)) if mounted else (),
        read_ahead_kib=whole(host, f"/sys/class/block/{device}/queue/read_ahead_kb") if device else None,
    )


def named(seen: DiskContents, name: str) -> DiskContent | None:
    """The disk of that serial number or by-id name. Raises ``ChangeError`` where several disks have the number."""
    found = [disk for disk in seen.disks if disk.serial == name or f"{BY_ID}{name}" in disk.by_id]
    if len(found) > 1:
        devices = ", ".join(f"/dev/{disk.name}" for disk in found)
        raise ChangeError(
            f"storage.disks: {name} is the serial number of {devices}; name one of them as in {BY_ID}", f"ls -l {BY_ID}"
        )
    return found[0] if found else None


def ours(volume: Volume, disk: DiskContent) -> bool:
    """Whether what is on it was put there by this plan."""
    if volume.array_uuid:
        return disk.member_of == volume.array_uuid
    return disk.filesystem_uuid == volume.filesystem_uuid


def refuse(volume: Volume, state: VolumeState) -> None:
    """Raises ``ConsentNeeded``, with a line for each disk, where one is missing or is somebody's."""
    refused = [f"{name}: no disk here has this serial number or name" for name in state.missing]
    consent: list[str] = []
    for disk in state.disks:
        if ours(volume, disk):
            continue
        if disk.in_use:
            refused.append(f"{words(disk)} is in use: {', '.join(disk.in_use)}; release it first, no setting takes it")
        elif disk.holds and disk.serial not in volume.wipe:
            refused.append(f"{words(disk)} holds {', '.join(disk.holds)}")
            consent.append(disk.serial or disk.name)
        elif not disk.looked:
            refused.append(f"{words(disk)}: what it holds could not be looked at")
    if refused:
        lines = "\n".join(f"  {line}" for line in refused)
        quoted = ", ".join(f'"{serial}"' for serial in sorted({*volume.wipe, *consent}))
        hint = f"to destroy what they hold, in provision.toml: [storage] wipe = [{quoted}]" if consent else "lsblk --fs"
        raise ConsentNeeded(f"Nothing was changed. These disks are not free for the volume:\n{lines}", hint)


def words(disk: DiskContent) -> str:
    """A disk so that somebody recognises it: serial number, model, size, today's name."""
    about = ", ".join((disk.model or "no model", f"{disk.bytes / 1e9:.1f} GB", f"/dev/{disk.name}"))
    return f"{disk.serial or disk.name} ({about})"


def destroyed(volume: Volume, state: VolumeState) -> Iterator[tuple[DiskContent, str]]:
    """Each disk that would be taken, with what is on it; "" where nothing is."""
    for disk in state.disks:
        if not ours(volume, disk):
            yield disk, ", ".join(disk.holds)


def before(volume: Volume, state: VolumeState) -> VolumeBefore:
    """What the evidence keeps."""
    kept = {f.name: getattr(state, f.name) for f in dataclasses.fields(VolumeBefore) if f.name != "volume"}
    return VolumeBefore(volume=volume, **kept)


def others(host: Host, volume: Volume) -> int:
    """How many files the mounted volume holds that are not the placed model's."""
    model = {f"{volume.model.name}/{name}" for name in volume.model.sha256} if volume.model else set()
    try:
        said = host.run(
            "find",
            volume.mount_point,
            "-xdev",
            "-mindepth",
            "1",
            "!",
            "-type",
            "d",
            "-printf",
            "%P\\n",
            timeout=SLOW_SECONDS,
        )
    except (Absent, Missing) as reason:
        raise ChangeError(f"what {volume.mount_point} holds cannot be seen: {reason.reason}") from None
    names = [line for line in said.splitlines() if not set(line.split("/")) & set(OWN_FILES)]
    return sum(1 for name in names if name not in model and _whole(name) not in model)


def _whole(part: str) -> str:
    """``a/.b.part``, a half-placed file, as ``a/b``."""
    folder, _, name = part.rpartition("/")
    return f"{folder}/{name.removeprefix('.').removesuffix('.part')}"


def _mounted(host: Host, mount_point: str) -> str:
    """The kernel's name of what is mounted there; "" where nothing is."""
    found = ""
    try:
        for line in host.read("/proc/self/mountinfo").splitlines():
            parts = line.split(" ")
            if parts[4] == mount_point:  # a later mount hides an earlier one
                found = parts[2]
        return host.link(f"/sys/dev/block/{found}").rpartition("/")[2] if found else ""
    except (Absent, Missing):
        return found


def _placed(host: Host, volume: Volume) -> Iterator[str]:
    if volume.model is None:
        return
    folder = f"{volume.mount_point}/{volume.model.name}"
    for name in sorted(volume.model.sha256):
        if host.exists(f"{folder}/{name}"):
            yield name
