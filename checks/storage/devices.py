"""Disks that are slow, hot, broken or on their way there."""

from __future__ import annotations

from collections.abc import Iterator

from provision.catalog import tables
from provision.check import ERROR, NOTE, WARNING, Finding, NotApplicable, check
from provision.checks._words import counted, size
from provision.facts.block import Arrays, BlockQueues, DiskErrors, NvmeControllers
from provision.facts.disks import Disks


@check("STO060", WARNING, cause="slow-storage")
def read_ahead_too_small(queues: BlockQueues, disks: Disks) -> Iterator[Finding]:
    """A disk is read in smaller steps than the kernel's default.

    Loaders map weight files; the kernel then reads as far ahead as this setting says. Databases are tuned by making it
    small, which makes loading weights many times slower on the same disk.

    ## Fix
    `blockdev --setra 4096 DEVICE` (in 512-byte sectors), and take the smaller value out of the udev rule or tuned profile.

    ## Proof
    STO-P1: the weights load within the planned time.
    """
    row = tables.thresholds().limit["read_ahead_bytes"]
    known = {disk.name for disk in disks.disks}
    for queue in queues.queues:
        if queue.disk in known and queue.read_ahead_bytes is not None and queue.read_ahead_bytes < row.value:
            yield Finding(
                f"{queue.disk} is read {size(queue.read_ahead_bytes)} ahead; the kernel's default is {size(row.value)}",
                measured={"read_ahead_bytes": queue.read_ahead_bytes, "disk": queue.disk},
                needed={"read_ahead_bytes": row.value},
                fix=(f"blockdev --setra 4096 /dev/{queue.disk}", f"cat /sys/block/{queue.disk}/queue/read_ahead_kb"),
            )


@check("STO061", NOTE, cause="slow-storage")
def nvme_behind_a_scheduler_for_slow_disks(queues: BlockQueues, disks: Disks) -> Iterator[Finding]:
    """An NVMe disk is behind a scheduler that was made for slow disks.

    bfq decides about every single request to be fair on a desktop; its own documentation names a ceiling of some hundred
    thousand requests a second, below what an NVMe disk does by itself.

    ## Fix
    `echo none > /sys/block/DEVICE/queue/scheduler`, and a udev rule that keeps it.

    ## Proof
    STO-P1: the weights load within the planned time.
    """
    nvme = {disk.name for disk in disks.disks if disk.transport == "nvme"}
    if not nvme:
        raise NotApplicable("no NVMe disk is here")
    for queue in queues.queues:
        if queue.disk in nvme and queue.scheduler == "bfq":
            yield Finding(
                f"{queue.disk} is scheduled by bfq",
                measured={"scheduler": "bfq", "disk": queue.disk},
                needed={"scheduler": "none"},
                fix=(f"echo none > /sys/block/{queue.disk}/queue/scheduler",),
            )


@check("STO062", ERROR, cause="raid-degraded")
def disk_array_degraded(arrays: Arrays) -> Iterator[Finding]:
    """A software RAID or a ZFS pool has lost a disk.

    It goes on without it, slower, and the next disk that fails takes the data along. A striped array (raid0) that lacks a
    member has lost its data already.

    ## Fix
    Replace the disk, and watch the array rebuild before the machine takes load again.

    ## Proof
    None of its own: `provision doctor --select STO062` looks again.
    """
    for one in arrays.arrays:
        if not one.healthy:
            pool = one.kind == "zpool"
            rebuilt = f"; {one.rebuilding}" if one.rebuilding else ""
            yield Finding(
                f"{one.name} ({one.kind}) is {one.state}{rebuilt}",
                measured={"array": one.name, "state": one.state},
                needed={"state": "ONLINE" if pool else "every member up"},
                fix=(f"zpool status -v {one.name}",)
                if pool
                else (f"mdadm --detail /dev/{one.name}", "cat /proc/mdstat"),
            )


@check("STO063", NOTE, cause="slow-storage")
def disk_array_rebuilding(arrays: Arrays) -> Iterator[Finding]:
    """A software RAID is being rebuilt or checked.

    Until it is done it shares the disks with everything else: loading weights takes a multiple of its usual time.

    ## Fix
    Wait, or slow the rebuilding down while it disturbs: /proc/sys/dev/raid/speed_limit_max.

    ## Proof
    None of its own: `provision doctor --select STO063` looks again.
    """
    for one in arrays.arrays:
        if one.rebuilding and one.healthy:
            yield Finding(
                f"{one.name} is at work on itself: {one.rebuilding}",
                measured={"array": one.name, "rebuilding": one.rebuilding},
                needed={"rebuilding": ""},
                fix=("cat /proc/mdstat",),
            )


@check("STO064", WARNING, cause="pcie-link-degraded")
def nvme_on_fewer_lanes(nvme: NvmeControllers) -> Iterator[Finding]:
    """An NVMe disk runs on fewer PCIe lanes than it has.

    Half the lanes are half the rate at which weights come in. Slots that share lanes with another device, risers and a
    seat that is not quite home are the usual reasons. The link's speed falls while it rests and is not judged.

    ## Fix
    Seat the disk again or use another slot; the board's manual says which slots share lanes.

    ## Proof
    STO-P1: the weights load within the planned time.
    """
    known = [one for one in nvme.controllers if one.link_width and one.link_width_max]
    if not known:
        raise NotApplicable("the bus does not say the links' width, as in most virtual machines")
    for one in known:
        if (one.link_width or 0) < (one.link_width_max or 0):
            yield Finding(
                f"{one.name} runs on {one.link_width} of its {one.link_width_max} PCIe lanes",
                measured={"link_width": one.link_width, "disk": one.name},
                needed={"link_width": one.link_width_max},
                fix=(f"grep . /sys/class/nvme/{one.name}/device/*_link_width",),
            )


@check("STO065", WARNING, cause="disk-too-hot")
def nvme_above_its_warning_temperature(nvme: NvmeControllers) -> Iterator[Finding]:
    """An NVMe disk is hotter than its maker's warning threshold.

    Above it the disk slows itself down, usually while the weights are loaded, and ages faster.

    ## Fix
    Give it a heat sink and air.

    ## Proof
    None of its own: `provision doctor --select STO065` reads the sensor again.
    """
    known = [one for one in nvme.controllers if one.temperature_c is not None and one.temperature_max_c]
    if not known:
        raise NotApplicable("no NVMe disk here shows its temperature")
    for one in known:
        if (one.temperature_c or 0) >= (one.temperature_max_c or 0):
            yield Finding(
                f"{one.name} is at {one.temperature_c:g} °C; its maker warns from {one.temperature_max_c:g} °C",
                measured={"temperature_c": one.temperature_c, "disk": one.name},
                needed={"temperature_below_c": one.temperature_max_c},
                fix=(f"nvme smart-log /dev/{one.name} | grep -i -e temp -e warning",),
            )


@check("STO066", ERROR, cause="disk-errors")
def file_system_counted_errors(errors: DiskErrors) -> Iterator[Finding]:
    """A file system has written down errors of its disk.

    ext4 and btrfs keep the count on the disk itself: it outlives reboots and a rotated log. Weights on such a disk may be
    read wrong, and the kernel may remount it read-only at the next error.

    ## Fix
    Look at the disk's health, copy what matters, then repair: `e2fsck` resets ext4's count, `btrfs device stats -z` that of
    btrfs. Compare the checksums of the models.

    ## Proof
    None of its own: `provision doctor --select STO066` reads the count again.
    """
    for one in errors.counted:
        if one.errors:
            yield Finding(
                f"{one.filesystem} on {one.device} has counted {counted(one.errors, 'error')}",
                measured={"errors": one.errors, "device": one.device},
                needed={"errors": 0},
                fix=(
                    (f"dumpe2fs -h /dev/{one.device} | grep -i error", f"smartctl -a /dev/{one.device}")
                    if one.filesystem == "ext4"
                    else ("btrfs device stats MOUNT_POINT",)
                ),
            )


@check("STO067", ERROR, cause="disk-controller-dead")
def nvme_controller_not_live(nvme: NvmeControllers) -> Iterator[Finding]:
    """An NVMe controller does not answer.

    The kernel has given up on it ("dead"), is resetting it or is taking it away. Whatever lies on it cannot be read, and
    programs that try may hang.

    ## Fix
    Read what the kernel says about it; power the machine off and on again; replace the disk.

    ## Proof
    None of its own: `provision doctor --select STO067` asks again.
    """
    for one in nvme.controllers:
        if one.state is not None and one.state != "live":
            yield Finding(
                f"{one.name} is {one.state}",
                measured={"state": one.state, "disk": one.name},
                needed={"state": "live"},
                fix=(f"dmesg | grep {one.name}",),
            )
