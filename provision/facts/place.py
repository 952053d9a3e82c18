"""What a path stands on: its mount, and every layer down to the disks. No fact: it is asked for one path, not of a machine.

Sources: ``/proc/self/mountinfo``, ``/sys/dev/block``, ``/sys/class/block/*/slaves``, ``/sys/fs/btrfs``.
"""

from __future__ import annotations

import posixpath
import re
from typing import Literal

from provision.fact import Absent, Missing, NotKnown
from provision.facts.disks import MountLine
from provision.facts.reading import text
from provision.host import Host, or_none
from provision.record import record

LayerKind = Literal[
    "overlay", "partition", "lvm", "crypt", "multipath", "device-mapper", "raid", "loop", "btrfs", "disk", "memory",
    "network", "shared",
]  # fmt: skip
_MEMORY = ("tmpfs", "ramfs", "hugetlbfs", "rootfs")
_SHARED = ("virtiofs", "9p", "vboxsf", "fuse.vmhgfs-fuse")  # the host's folder, handed into a virtual machine
_MAPPERS: tuple[tuple[str, LayerKind], ...] = (("LVM-", "lvm"), ("CRYPT-", "crypt"), ("mpath-", "multipath"))
_DEPTH = 16  # layers: no real stack comes near; a loop on a file on itself would never end


@record
class Layer:
    kind: LayerKind
    name: str  # "nvme0n1p2", "dm-0", "md0", "server:/export"
    detail: str  # "vg-models", "raid0, 2 members, 512 KiB chunks"; empty where the name says all


@record
class Place:
    path: str  # with every link resolved
    mount_point: str
    filesystem: str
    source: str
    options: tuple[str, ...]
    network: bool  # a server answers, not this machine's kernel
    layers: tuple[Layer, ...]  # from the file system down; the lowest are the disks
    disks: tuple[str, ...]  # names in Disks; empty for memory, a network and what is not seen from here
    unseen: str  # why the layers end before a disk; empty where they do not


def place(host: Host, path: str) -> Place:
    """The place of a path that is there. Raises ``Absent`` where it is not, ``Missing`` where its server gives no answer."""
    lines = [MountLine.parse(line) for line in host.read("/proc/self/mountinfo").splitlines()]
    real = _resolved(host, path)
    line = _holding(real, lines)
    layers, unseen = _beneath(host, line, lines, _DEPTH)
    return Place(
        path=real,
        mount_point=line.mount_point,
        filesystem=line.filesystem,
        source=line.source,
        options=line.options,
        network=line.network() or line.filesystem in _SHARED,
        layers=layers,
        disks=tuple(sorted({layer.name for layer in layers if layer.kind == "disk"})),
        unseen=unseen,
    )


def _resolved(host: Host, path: str) -> str:
    """Links resolved by a program that is killed at its deadline: on a dead server even looking at a name may hang."""
    try:
        return host.run("readlink", "-e", "-n", "--", path)
    except Missing as reason:
        if "failed with status 1" in reason.reason:
            raise Absent(f"{path} is not there") from None
        raise


def _holding(path: str, lines: list[MountLine]) -> MountLine:
    last = {line.mount_point: line for line in lines}  # a later mount hides an earlier one at the same place
    holding = [m for m in last if m == "/" or f"{path}/".startswith(f"{m}/")]
    if not holding:
        raise Missing(f"no mount holds {path}")
    return last[max(holding, key=len)]


def _beneath(host: Host, line: MountLine, lines: list[MountLine], depth: int) -> tuple[tuple[Layer, ...], str]:
    """The layers under one mount, and why they end before a disk."""
    if line.filesystem in _MEMORY:
        return (_layer("memory", line.filesystem),), ""
    if line.filesystem in _SHARED:
        return (_layer("shared", line.source, "a folder of the machine that runs this virtual machine"),), ""
    if line.network():
        return (_layer("network", line.source),), ""
    if line.filesystem in ("overlay", "aufs"):
        return _beneath_overlay(host, line, lines, depth)
    if line.filesystem.startswith("fuse") and not line.source.startswith("/dev/"):
        return (), f"{line.filesystem} is a program that makes files up; what it reads cannot be seen from here"
    found: list[Layer] = []
    unseen = ""
    for name in _devices(host, line):
        more, why = _stack(host, name, lines, depth)
        found += [layer for layer in more if layer not in found]
        unseen = unseen or why
    if not found:
        return (), unseen or f"{line.filesystem} on {line.source} shows no block device beneath it"
    return tuple(found), unseen


def _beneath_overlay(host: Host, line: MountLine, lines: list[MountLine], depth: int) -> tuple[tuple[Layer, ...], str]:
    """New files of an overlay lie in its upper folder; in a container that is a path of the machine outside."""
    folder = line.folders.get("upperdir") or line.folders.get("lowerdir", "").split(":")[0]
    layer = _layer("overlay", folder or line.source, "" if "upperdir" in line.folders else "read-only")
    if not folder or not depth or or_none(host.exists, folder, reasons=NotKnown) is not True:
        return (layer,), "the overlay's folders are not seen from inside the container"
    below, why = _beneath(host, _holding(folder, lines), lines, depth - 1)
    return (layer, *below), why


def _devices(host: Host, line: MountLine) -> tuple[str, ...]:
    """Names below /sys/class/block of what a file system stands on: several for btrfs over several disks."""
    device = or_none(host.link, f"/sys/dev/block/{line.device}")
    if device:
        return (posixpath.basename(device),)
    if not line.source.startswith("/dev/"):
        return ()
    name = posixpath.basename(host.real(line.source))
    for path in host.glob(f"/sys/fs/btrfs/*/devices/{name}"):
        return tuple(posixpath.basename(one) for one in host.glob(f"{posixpath.dirname(path)}/*"))
    return (name,) if or_none(host.link, f"/sys/class/block/{name}") else ()


def _stack(host: Host, name: str, lines: list[MountLine], depth: int) -> tuple[list[Layer], str]:
    """A block device and everything under it, top-down."""
    folder = f"/sys/class/block/{name}"
    if not depth:
        return [], f"more than {_DEPTH} layers under each other"
    if host.exists(f"{folder}/partition"):
        parent = posixpath.basename(posixpath.dirname(host.link(folder)))
        more, why = _stack(host, parent, lines, depth - 1)
        return [_layer("partition", name), *more], why
    if re.match(r"loop\d", name):
        return _loop(host, name, lines, depth)
    if re.match(r"(ram|zram)\d", name):
        return [_layer("memory", name)], ""
    if re.match(r"(nbd|rbd|drbd)\d", name):
        return [_layer("network", name)], ""
    below = [posixpath.basename(path) for path in host.glob(f"{folder}/slaves/*")]
    if not below:
        return [_layer("disk", name)], ""
    found, unseen = [_combined(host, name, len(below))], ""
    for one in below:
        more, why = _stack(host, one, lines, depth - 1)
        found += [layer for layer in more if layer not in found]
        unseen = unseen or why
    return found, unseen


def _combined(host: Host, name: str, members: int) -> Layer:
    folder = f"/sys/class/block/{name}"
    level = text(host, f"{folder}/md/level")
    if level:
        chunk = int(text(host, f"{folder}/md/chunk_size") or 0) >> 10
        chunks = f", {chunk} KiB chunks" if chunk else ""
        return _layer("raid", name, f"{level}, {members} member{'s' if members > 1 else ''}{chunks}")
    uuid = text(host, f"{folder}/dm/uuid") or ""
    kind: LayerKind = next((kind for mark, kind in _MAPPERS if uuid.startswith(mark)), "device-mapper")
    return _layer(kind, name, text(host, f"{folder}/dm/name") or "")


def _loop(host: Host, name: str, lines: list[MountLine], depth: int) -> tuple[list[Layer], str]:
    backing = text(host, f"/sys/class/block/{name}/loop/backing_file")
    layer = _layer("loop", name, backing or "")
    if not backing or backing.endswith(" (deleted)"):
        return [layer], "the file behind the loop device is not seen from here"
    below, why = _beneath(host, _holding(backing, lines), lines, depth - 1)
    return [layer, *below], why


def _layer(kind: LayerKind, name: str, detail: str = "") -> Layer:
    return Layer(kind=kind, name=name, detail=detail)
