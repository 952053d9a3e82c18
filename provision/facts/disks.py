"""Block devices, and the file systems mounted from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from provision.fact import fact

Transport = Literal["nvme", "sata", "sas", "scsi", "virtio", "usb", "mmc", "xen", "hyperv", "raid", "other"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Disk:
    name: str  # "nvme0n1"
    rotational: bool  # what the kernel believes; under a hypervisor not always the truth
    transport: Transport  # "raid": a software RAID (md)
    bytes: int
    model: str | None


@fact
class Disks:
    disks: tuple[Disk, ...]  # sorted by name; no loop device, no RAM disk, no empty drive


@dataclass(frozen=True, kw_only=True, slots=True)
class Mount:
    mount_point: str
    source: str  # "/dev/nvme0n1p2", "server:/export"
    filesystem: str
    options: tuple[str, ...]  # of the mount and of the file system, sorted, each once
    network: bool
    disks: tuple[str, ...]  # names in Disks that hold it, through partitions, LVM and RAID; empty for a network
    total_bytes: int | None  # None, all four: see unreachable
    free_bytes: int | None  # what an ordinary user may still write
    inodes_total: int | None  # 0 where the file system has no fixed number
    inodes_free: int | None
    unreachable: str | None  # why it gave no numbers: "… gave no answer in 2 s"


@fact
class Mounts:
    mounts: tuple[Mount, ...]  # sorted by mount point; no pseudo file systems, no containers' own roots
