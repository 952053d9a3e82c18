"""Block devices, and the file systems mounted from them."""

from __future__ import annotations

import posixpath
import re
from typing import Literal

from provision.fact import Absent, NotKnown, fact, probe
from provision.host import Host, or_none, together
from provision.record import record

Transport = Literal["nvme", "sata", "sas", "scsi", "virtio", "usb", "mmc", "xen", "hyperv", "raid", "other"]


@record
class Disk:
    name: str  # "nvme0n1"
    rotational: bool  # what the kernel believes; under a hypervisor not always the truth
    transport: Transport  # "raid": a software RAID (md)
    bytes: int
    model: str | None

    @property
    def turns(self) -> bool | None:
        """Whether it is a rotating disk; None for a hypervisor's disk that the kernel calls one.

        A virtual disk is called rotating unless its hypervisor says otherwise, and few do: a virtio disk (vda) that lies
        on NVMe shows 1 as well (tests/machines/debian12-bare.json).
        """
        return None if self.rotational and self.virtual else self.rotational

    @property
    def virtual(self) -> bool:
        """A hypervisor made it: by its connection, or by the name that the hypervisor gives its disks."""
        return self.transport in ("virtio", "xen", "hyperv") or bool(_VIRTUAL.match(self.model or ""))


# SCSI and ATA product names of virtual disks: QEMU, VirtualBox, VMware and Hyper-V, Google, Oracle, Nutanix, XenServer.
_VIRTUAL = re.compile(r"QEMU|VBOX|virtual disk|PersistentDisk|BlockVolume|VDISK|PVDISK", re.IGNORECASE)


@fact
class Disks:
    disks: tuple[Disk, ...]  # sorted by name; no loop device, no RAM disk, no empty drive


@record
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


_SECTOR_BYTES = 512  # the unit of /sys/block/*/size, whatever the device's own sectors are
_TRANSPORTS: tuple[tuple[str, Transport], ...] = (  # what stands in the device's path under /sys/devices
    ("/nvme", "nvme"),
    ("/usb", "usb"),
    ("/ata", "sata"),
    ("/end_device-", "sas"),
    ("/virtio", "virtio"),
    ("/vbd-", "xen"),
    ("/VMBUS", "hyperv"),
    ("/mmc_host", "mmc"),
    ("/host", "scsi"),
    ("/virtual/block/md", "raid"),
)


@probe
def disks(host: Host) -> Disks:
    """Block devices with their size, kind and connection.

    Source: ``/sys/block``.
    """
    found = []
    for path in host.glob("/sys/block/*"):
        name = posixpath.basename(path)
        place = host.link(path)
        size = int(host.read(f"{path}/size")) * _SECTOR_BYTES
        transport = next((kind for mark, kind in _TRANSPORTS if mark in place), None)
        if size == 0 or (transport is None and "/virtual/" in place) or re.match(r"(sr|fd|loop|ram|zram)\d", name):
            continue
        model = or_none(host.read, f"{path}/device/model")
        found.append(
            Disk(
                name=name,
                rotational=host.read(f"{path}/queue/rotational").strip() == "1",
                transport=transport or "other",
                bytes=size,
                model=model.strip() if model else None,
            )
        )
    if not found:
        raise Absent("no disk is visible here")
    return Disks(disks=tuple(found))


_NETWORK = re.compile(
    r"nfs4?|cifs|smb3|smbfs|ceph|glusterfs|lustre|beegfs|gpfs|afs|orangefs|pvfs2|9p|ncpfs|ocfs2|gfs2|wekafs|"
    r"fuse\.(sshfs|s3fs|goofys|gcsfuse|rclone|glusterfs|ceph|juicefs|mount-s3|blobfuse2?|cvmfs2|davfs|lustre|curlftpfs)"
)
_LOCAL = re.compile(  # what holds files; all else without a disk beneath is the kernel's own window (proc, cgroup, …)
    r"ext[234]|xfs|btrfs|zfs|bcachefs|f2fs|jfs|reiserfs|nilfs2|vfat|exfat|msdos|ntfs3?|fuseblk|virtiofs|tmpfs|overlay|aufs|fuse\..+"
)
# tmpfs for sockets and locks, and the three files that an engine lays over a container's own
_NOT_STORAGE = re.compile(r"/(proc|sys|dev|run)(/|$)|/etc/(hosts|hostname|resolv\.conf)$")
_LAYERS = ("lowerdir=", "upperdir=", "workdir=")  # an overlay's folders: long, and the engine's business
_ENGINE_OWN = re.compile(r"/(overlay2|overlay|containers|vfs|rootfs)/.*/(merged|rootfs|diff)$|/netns/")


@probe
def mounts(host: Host) -> Mounts:
    """Mounted file systems with room and inodes left, and the disks they stand on.

    Sources: ``/proc/self/mountinfo``, ``statvfs``, ``/sys/dev/block``. A network file system is asked in a child
    process with a deadline, all of them at once: one dead server leaves its mount without numbers and holds up nothing.
    """
    lines = [MountLine.parse(text) for text in host.read("/proc/self/mountinfo").splitlines()]
    last = {line.mount_point: line for line in lines}  # a later mount hides an earlier one at the same place
    wanted = [line for _, line in sorted(last.items()) if line.holds_files()]
    rooms = together([lambda line=line: host.statvfs(line.mount_point, line.may_hang()) for line in wanted])  # type: ignore[misc]
    return Mounts(mounts=tuple(_mount(host, line, room) for line, room in zip(wanted, rooms)))  # noqa: B905 (Python 3.10)


@record
class MountLine:
    """One line of /proc/self/mountinfo."""

    mount_point: str
    device: str  # "254:0"
    filesystem: str
    source: str
    options: tuple[str, ...]
    folders: dict[str, str]  # an overlay's lowerdir, upperdir and workdir

    @classmethod
    def parse(cls, text: str) -> MountLine:
        """One line of mountinfo: see proc_pid_mountinfo(5)."""
        left, _, right = text.partition(" - ")
        _, _, device, _, mount_point, options = left.split(" ")[:6]
        filesystem, source, super_options = (*right.split(" "), "")[:3]
        folders = [o for o in super_options.split(",") if o.startswith(_LAYERS)]
        return cls(
            mount_point=_plain(mount_point),
            device=device,
            filesystem=filesystem,
            source=_plain(source),
            options=tuple(
                sorted(o for o in {*options.split(","), *super_options.split(",")} if o and not o.startswith(_LAYERS))
            ),
            folders={name: _plain(value) for name, _, value in (o.partition("=") for o in folders)},
        )

    def network(self) -> bool:
        return _NETWORK.fullmatch(self.filesystem) is not None

    def may_hang(self) -> bool:
        return self.network() or self.filesystem.startswith(("fuse", "virtiofs"))

    def holds_files(self) -> bool:
        if _NOT_STORAGE.match(self.mount_point) or _ENGINE_OWN.search(self.mount_point):
            return False
        return self.network() or _LOCAL.fullmatch(self.filesystem) is not None


def _plain(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)  # "\\040" stands for a space


def _mount(host: Host, line: MountLine, room: dict[str, int] | NotKnown) -> Mount:
    known = None if isinstance(room, NotKnown) else room
    return Mount(
        mount_point=line.mount_point,
        source=line.source,
        filesystem=line.filesystem,
        options=line.options,
        network=line.network(),
        disks=() if line.network() else _disks_beneath(host, line),
        total_bytes=known["blocks"] * known["block_size"] if known else None,
        free_bytes=known["available_blocks"] * known["block_size"] if known else None,
        inodes_total=known["inodes"] if known else None,
        inodes_free=known["available_inodes"] if known else None,
        unreachable=room.reason if isinstance(room, NotKnown) else None,
    )


def _disks_beneath(host: Host, line: MountLine) -> tuple[str, ...]:
    place = or_none(host.link, f"/sys/dev/block/{line.device}")
    if place is None and line.source.startswith("/dev/"):  # btrfs and zfs have a device number of their own
        place = or_none(host.link, f"/sys/class/block/{posixpath.basename(host.real(line.source))}")
    return tuple(sorted(_whole_disks(host, place))) if place else ()


def _whole_disks(host: Host, place: str, depth: int = 8) -> set[str]:
    """``…/nvme0n1/nvme0n1p2`` as {"nvme0n1"}; through LVM and encryption, not through RAID, which is a disk here."""
    disk = posixpath.basename(place)
    if host.exists(f"/sys/class/block/{disk}/partition"):
        disk = posixpath.basename(posixpath.dirname(place))
    below = host.glob(f"/sys/block/{disk}/slaves/*") if disk.startswith("dm-") and depth else ()
    return {name for path in below for name in _whole_disks(host, host.link(path), depth - 1)} or {disk}
