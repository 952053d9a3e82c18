"""The volume for weights as it was planned: its disks, its array, its mount, its read-ahead."""

from __future__ import annotations

from collections.abc import Iterator

from provision.check import ERROR, WARNING, Finding, NotApplicable, check
from provision.checks._words import counted, listed
from provision.fact import Absent, Missing
from provision.facts.block import BlockQueues
from provision.facts.contents import BY_ID, ArrayContent, DiskContent, DiskContents
from provision.facts.disks import Mounts
from provision.plan import Storage, Volume


def _volume(plan: Storage) -> Volume:
    if plan.volume is None:
        raise NotApplicable("no volume is planned ([storage] in provision.toml)")
    return plan.volume


def _seen(contents: DiskContents | Absent | Missing) -> DiskContents:
    """After ``_volume``: where none is planned, nobody has to look."""
    if not isinstance(contents, DiskContents):
        raise Missing(contents.reason)
    return contents


def _found(contents: DiskContents, name: str) -> list[DiskContent]:
    return [disk for disk in contents.disks if disk.serial == name or f"{BY_ID}{name}" in disk.by_id]


def _array(contents: DiskContents, volume: Volume) -> ArrayContent | None:
    return next((one for one in contents.arrays if one.uuid == volume.array_uuid), None)


def _device(contents: DiskContents, volume: Volume) -> str | None:
    """The kernel's name of what carries the planned file system."""
    carriers: tuple[ArrayContent | DiskContent, ...] = (*contents.arrays, *contents.disks)
    return next((one.name for one in carriers if one.filesystem_uuid == volume.filesystem_uuid), None)


@check("STO110", ERROR, cause="planned-disk-missing")
def planned_disk_missing(contents: DiskContents | Absent | Missing, plan: Storage) -> Iterator[Finding]:
    """A disk that the plan names is not here.

    It was pulled, died, sits behind a controller that died, or its serial number was mistyped. A RAID 0 without one of its
    disks has lost everything on it: the model has to be placed again once the disk is back or replaced.

    ## Fix
    Compare with the serial numbers that the machine shows. A disk that is really gone: take it out of `disks` in
    provision.toml (which makes another volume), or put it back.

    ## Proof
    STO-P1: the weights load within the planned time.
    """
    for name in _volume(plan).disks:
        seen = _seen(contents)
        if not _found(seen, name):
            here = sorted(disk.serial for disk in seen.disks if disk.serial)
            yield Finding(
                f"no disk here is {name}; the plan's volume needs it",
                measured={"serials": here},
                needed={"disk": name},
                fix=("lsblk --nodeps --output NAME,MODEL,SERIAL,SIZE", "dmesg | grep -i -e nvme -e ata -e scsi"),
            )


@check("STO111", ERROR, cause="planned-disk-not-free")
def planned_disk_holds_something_else(contents: DiskContents | Absent | Missing, plan: Storage) -> Iterator[Finding]:
    """A disk that the plan names holds something that the plan did not put there.

    Nothing is taken from anybody by mistake: `provision up` stops at such a disk, whatever else was allowed. A disk named
    in `wipe` is taken, unless it is in use: a mounted file system, swap, or a member of a running array is never touched.

    ## Fix
    Look at what it is. If it may go: release it (`umount`, `swapoff`, `mdadm --stop`), and name its serial number in
    `wipe` under `[storage]` in provision.toml.

    ## Proof
    None of its own: a disk that is refused is left as it is.
    """
    volume = _volume(plan)
    known = [disk for name in volume.disks for disk in _found(_seen(contents), name)]
    for disk in known:
        planned = (
            disk.member_of == volume.array_uuid if volume.array_uuid else disk.filesystem_uuid == volume.filesystem_uuid
        )
        consented = disk.serial in volume.wipe and not disk.in_use
        if (disk.holds or disk.in_use) and not planned and not consented:
            yield Finding(
                f"{disk.serial or disk.name} ({disk.name}) holds {listed((*disk.holds, *disk.in_use))}",
                measured={"holds": list(disk.holds), "in_use": list(disk.in_use)},
                needed={"holds": []},
                fix=(f"lsblk --fs /dev/{disk.name}", f"wipefs --no-act /dev/{disk.name}"),
            )
    if blind := [disk.name for disk in known if not disk.looked and not disk.holds]:
        raise Missing(f"what {listed(blind)} holds cannot be seen without root")


@check("STO112", ERROR, cause="planned-volume-not-there")
def planned_array_not_whole(contents: DiskContents | Absent | Missing, plan: Storage) -> Iterator[Finding]:
    """The planned RAID 0 is not running with all of its disks.

    A RAID 0 has no spare: with a member missing it does not start, and a machine that was never brought to its plan has none.
    An array that the kernel found only in part shows as inactive.

    ## Fix
    `provision up` makes or assembles it where every disk is there and free. Where a disk is gone for good, so is the data.

    ## Proof
    STO-P1: the weights load within the planned time.
    """
    volume = _volume(plan)
    if not volume.array_uuid:
        raise NotApplicable("the planned volume is a single disk")
    found = _array(_seen(contents), volume)
    here = found.members if found else ()
    wanted = [disk.name for name in volume.disks for disk in _found(_seen(contents), name)]
    if len(here) < len(volume.disks) or set(wanted) - set(here):
        state = (
            f"{found.name} has {counted(len(here), 'member')}: {listed(here) or 'none'}"
            if found
            else "no array of that UUID runs"
        )
        yield Finding(
            f"{state}; the plan is a RAID 0 of {counted(len(volume.disks), 'disk')}",
            measured={"members": list(here)},
            needed={"members": list(volume.disks), "uuid": volume.array_uuid},
            fix=(
                "cat /proc/mdstat",
                f"mdadm --assemble --scan --uuid={volume.mdadm_uuid}",
                "provision up --allow disks",
            ),
        )


@check("STO113", ERROR, cause="planned-volume-not-there")
def planned_mount_missing(
    contents: DiskContents | Absent | Missing, mounts: Mounts, plan: Storage
) -> Iterator[Finding]:
    """The planned volume is not mounted where it should be.

    The folder below is then an empty one on the system's own disk: an engine finds no model there, or downloads one and fills
    the system's disk with it.

    ## Fix
    `mount` it: the line is in /etc/fstab. Where that fails, its message names the reason.

    ## Proof
    STO-P1: the weights load within the planned time.
    """
    volume = _volume(plan)
    there = next((one for one in mounts.mounts if one.mount_point == volume.mount_point), None)
    device = _device(_seen(contents), volume)
    wanted = f"{volume.filesystem} {volume.filesystem_uuid}"
    measured = {"source": there.source if there else None, "filesystem": there.filesystem if there else None}
    if there is None:
        problem = f"nothing is mounted on {volume.mount_point}; the plan is {wanted}"
    elif device is None or device not in there.disks:
        problem = f"{there.source} ({there.filesystem}) is mounted on {volume.mount_point}; the plan is {wanted}"
    else:
        return
    yield Finding(
        problem,
        measured=measured,
        needed={"filesystem": volume.filesystem, "uuid": volume.filesystem_uuid},
        fix=(f"mount {volume.mount_point}", f"findmnt {volume.mount_point}", "provision up --allow disks"),
    )


@check("STO114", WARNING, cause="slow-storage")
def planned_read_ahead_differs(
    contents: DiskContents | Absent | Missing, queues: BlockQueues | Absent | Missing, plan: Storage
) -> Iterator[Finding]:
    """The volume's read-ahead is not the planned one.

    It is set by a udev rule each time the device appears. A tuning service (tuned, a rule with a higher number) that sets it
    later wins, and loading by mmap slows down without a message.

    ## Fix
    `provision up` sets it again. Look for who else does: `grep -r read_ahead /etc/udev/rules.d /etc/tuned`.

    ## Proof
    STO-P1: the weights load within the planned time.
    """
    volume = _volume(plan)
    if volume.read_ahead_kib is None:
        raise NotApplicable("no read-ahead is planned (read_ahead_kib)")
    device = _device(_seen(contents), volume)
    if device is None:
        raise NotApplicable("the volume is not there")
    if not isinstance(queues, BlockQueues):
        raise Missing(queues.reason)
    now = next((one.read_ahead_bytes for one in queues.queues if one.disk == device), None)
    if now is None:
        raise Missing(f"the read-ahead of {device} was not seen")
    if now != volume.read_ahead_kib * 1024:
        yield Finding(
            f"{device} is read {now // 1024} KiB ahead; the plan is {volume.read_ahead_kib} KiB",
            measured={"read_ahead_bytes": now},
            needed={"read_ahead_bytes": volume.read_ahead_kib * 1024},
            fix=("provision up", "grep -r read_ahead /etc/udev/rules.d /etc/tuned"),
        )
