"""What the path stands on, judged: the one word for it, and whether anything turns. Pure."""

from __future__ import annotations

from typing import Literal

from provision.facts.drives import Drive
from provision.facts.place import Place
from provision.record import record

Kind = Literal["hdd", "ssd", "nvme", "raid", "network", "memory", "virtual", "unknown"]
_SLOWEST_FIRST = ("hdd", "network", "unknown", "virtual", "ssd", "nvme")  # a stack is as fast as its slowest disk


@record
class Standing:
    place: Place
    drives: tuple[Drive, ...]  # the disks under it, sorted by name
    kind: Kind
    kind_because: str
    device_name: str  # the block device that the file system is on, "" where it is on none
    read_ahead_bytes: int | None  # of that device: the one that counts for its files

    @property
    def turns(self) -> bool:
        """Whether a disk under it is known to rotate."""
        return any(drive.kind == "hdd" for drive in self.drives)


def standing(place: Place, drives: tuple[Drive, ...], device_name: str, read_ahead_bytes: int | None) -> Standing:
    """The kind follows from the layers first, then from the slowest of the disks."""
    kind, because = _kind(place, drives)
    return Standing(
        place=place,
        drives=drives,
        kind=kind,
        kind_because=because,
        device_name=device_name,
        read_ahead_bytes=read_ahead_bytes,
    )


def _kind(place: Place, drives: tuple[Drive, ...]) -> tuple[Kind, str]:
    for layer in place.layers:
        if layer.kind == "memory":
            return "memory", f"{place.filesystem} is main memory"
        if layer.kind == "shared":
            return "network", f"{place.filesystem}: {layer.detail}"
        if layer.kind == "network":
            return "network", f"{place.filesystem} from {layer.name}"
        if layer.kind == "raid":
            return "raid", f"{layer.name}: {layer.detail}"
    if not drives:
        return "unknown", place.unseen or "no disk is seen beneath it"
    slowest = min(drives, key=lambda drive: _SLOWEST_FIRST.index(drive.kind))
    return slowest.kind, f"{slowest.name}: {slowest.because}"


def device_of(place: Place) -> str:
    """The block device that the file system is on: the first layer that has a queue of its own (a partition has its disk's)."""
    return next(
        (
            layer.name
            for layer in place.layers
            if layer.kind not in ("overlay", "partition", "network", "shared", "memory")
        ),
        "",
    )
