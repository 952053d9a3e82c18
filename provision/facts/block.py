"""What slows a disk down or eats its data: queues, links, heat, broken arrays, file system errors, encryption."""

from __future__ import annotations

import posixpath
import re

from provision.fact import Absent, fact, probe
from provision.facts.reading import chosen, text, whole
from provision.host import Host
from provision.record import record


@record
class BlockQueue:
    disk: str  # name in Disks
    read_ahead_bytes: int | None
    scheduler: str | None  # "none", "mq-deadline", "bfq", "kyber"


@fact
class BlockQueues:
    queues: tuple[BlockQueue, ...]  # sorted by disk; at least one


@record
class NvmeController:
    name: str  # "nvme0"
    state: str | None  # "live"
    link_width: int | None
    link_width_max: int | None
    link_mts: int | None
    link_mts_max: int | None
    temperature_c: float | None
    temperature_max_c: float | None  # the disk's own warning threshold


@fact
class NvmeControllers:
    controllers: tuple[NvmeController, ...]  # sorted by name; at least one


@record
class Array:
    name: str  # "md0", or a zpool's name
    kind: str  # "raid0", "raid1", "zpool"
    healthy: bool
    state: str  # "[UU_]", "DEGRADED", "ONLINE"
    rebuilding: str  # "recovery = 12.6%"; empty where nothing is rebuilt


@fact
class Arrays:
    arrays: tuple[Array, ...]  # at least one, sorted by name


@record
class FileSystemErrors:
    device: str  # "nvme0n1p2"; for btrfs the file system's number and device
    filesystem: str
    errors: int


@fact
class DiskErrors:
    """What file systems themselves have counted. Absent where none of them counts."""

    counted: tuple[FileSystemErrors, ...]  # sorted


@fact
class Encryption:
    """Device-mapper devices that are encrypted, or stand on one that is. Absent where there is no device-mapper."""

    encrypted: tuple[str, ...]  # names below /dev/mapper, sorted
    plain: tuple[str, ...]


@probe
def block_queues(host: Host) -> BlockQueues:
    """Read-ahead and scheduler of every block device that may hold files.

    Source: ``/sys/block/*/queue``.
    """
    found = []
    for path in host.glob("/sys/block/*"):
        name = posixpath.basename(path)
        if re.match(r"(loop|ram|zram|sr|fd)\d", name):
            continue
        ahead = whole(host, f"{path}/queue/read_ahead_kb")
        found.append(
            BlockQueue(
                disk=name,
                read_ahead_bytes=None if ahead is None else ahead * 1024,
                scheduler=chosen(host, f"{path}/queue/scheduler"),
            )
        )
    if not found:
        raise Absent("no disk is visible here")
    return BlockQueues(queues=tuple(found))


@probe
def nvme_controllers(host: Host) -> NvmeControllers:
    """NVMe controllers: PCIe link now and at most, state and temperature.

    Sources: ``/sys/class/nvme/*/device``, ``/sys/class/nvme/*/hwmon*`` (thousandths of a degree).
    """
    found = []
    for path in host.glob("/sys/class/nvme/nvme[0-9]*"):
        heat = next(iter((*host.glob(f"{path}/hwmon[0-9]*"), *host.glob(f"{path}/device/hwmon/hwmon[0-9]*"))), "")
        found.append(
            NvmeController(
                name=posixpath.basename(path),
                state=text(host, f"{path}/state"),
                link_width=_lanes(whole(host, f"{path}/device/current_link_width")),
                link_width_max=_lanes(whole(host, f"{path}/device/max_link_width")),
                link_mts=_rate(text(host, f"{path}/device/current_link_speed")),
                link_mts_max=_rate(text(host, f"{path}/device/max_link_speed")),
                temperature_c=_degrees(whole(host, f"{heat}/temp1_input")) if heat else None,
                temperature_max_c=_degrees(whole(host, f"{heat}/temp1_max")) if heat else None,
            )
        )
    if not found:
        raise Absent("no NVMe disk is here")
    return NvmeControllers(controllers=tuple(found))


def _lanes(number: int | None) -> int | None:
    return number if number is not None and 0 < number < 255 else None


def _rate(said: str | None) -> int | None:
    found = re.match(r"([\d.]+) GT/s", said or "")
    return round(float(found[1]) * 1000) if found else None


def _degrees(thousandths: int | None) -> float | None:
    return None if thousandths is None else thousandths / 1000


@probe
def arrays(host: Host) -> Arrays:
    """Software RAIDs and ZFS pools, and whether every member is there.

    Sources: ``/proc/mdstat`` (md(4): "U" a member that is up, "_" one that is not), ``/proc/spl/kstat/zfs/*/state``.
    """
    found = []
    for name, rest in re.findall(r"^(md\w+) : (.*(?:\n[ \t]+\S.*)*)", text(host, "/proc/mdstat") or "", re.MULTILINE):
        kind = re.search(r"\b(raid\d+|linear|multipath)\b", rest)
        members = re.search(r"\[[U_]+\]", rest)
        rebuilding = re.search(r"(recovery|resync|reshape|check)\s*=\s*[\d.]+%", rest)
        failed = "(F)" in rest or rest.startswith("inactive")
        state = members[0] if members else rest.split()[0]
        found.append(
            Array(
                name=name,
                kind=kind[1] if kind else "unknown",
                healthy=not failed and "_" not in state,
                state=state,
                rebuilding=re.sub(r"\s+", " ", rebuilding[0]) if rebuilding else "",
            )
        )
    for path in host.glob("/proc/spl/kstat/zfs/*/state"):
        said = text(host, path) or "unknown"
        found.append(Array(name=path.split("/")[5], kind="zpool", healthy=said == "ONLINE", state=said, rebuilding=""))
    if not found:
        raise Absent("no software RAID and no ZFS pool is here")
    return Arrays(arrays=tuple(sorted(found, key=lambda one: one.name)))


@probe
def disk_errors(host: Host) -> DiskErrors:
    """Errors that ext4 and btrfs have written into their own books: they outlive a reboot and the kernel log.

    Sources: ``/sys/fs/ext4/*/errors_count``, ``/sys/fs/btrfs/*/devinfo/*/error_stats``.
    """
    counted = []
    for path in host.glob("/sys/fs/ext4/*/errors_count"):
        number = whole(host, path)
        if number is not None:
            counted.append(FileSystemErrors(device=path.split("/")[4], filesystem="ext4", errors=number))
    for path in host.glob("/sys/fs/btrfs/*/devinfo/*/error_stats"):
        parts = path.split("/")
        numbers = [int(n) for n in re.findall(r"^\w+_errs (\d{1,19})$", text(host, path) or "", re.MULTILINE)]
        counted.append(FileSystemErrors(device=f"{parts[4]}/{parts[6]}", filesystem="btrfs", errors=sum(numbers)))
    if not counted:
        raise Absent("no file system here counts its errors")
    return DiskErrors(counted=tuple(sorted(counted, key=lambda one: (one.filesystem, one.device))))


@probe
def encryption(host: Host) -> Encryption:
    """Which device-mapper devices are encrypted.

    Source: ``/sys/block/dm-*/dm/uuid`` (cryptsetup's begin with "CRYPT-"), through ``slaves``.
    """
    names, sealed, below = {}, set(), {}
    for path in host.glob("/sys/block/dm-[0-9]*"):
        disk = posixpath.basename(path)
        names[disk] = text(host, f"{path}/dm/name") or disk
        below[disk] = [posixpath.basename(one) for one in host.glob(f"{path}/slaves/dm-*")]
        if (text(host, f"{path}/dm/uuid") or "").startswith("CRYPT-"):
            sealed.add(disk)
    if not names:
        raise Absent("no device-mapper device is here")
    for _ in names:  # as deep as a stack can be
        sealed |= {disk for disk, others in below.items() if others and sealed.issuperset(others)}
    return Encryption(
        encrypted=tuple(sorted(names[disk] for disk in sealed)),
        plain=tuple(sorted(name for disk, name in names.items() if disk not in sealed)),
    )
