"""Room for the image and the wheels, how long the weights may take to load, and the volume they lie on."""

from __future__ import annotations

import hashlib
from typing import Literal

from provision.fact import Absent, Missing, Snapshot
from provision.facts.fstab import FileSystemTable
from provision.plan.cuda import Cuda
from provision.plan.promise import Promise, figures
from provision.record import record
from provision.spec import Spec
from provision.spec_storage import PlacedModel, StorageSpec

BY_ID = "/dev/disk/by-id/"
MARK = "# provision: the volume for weights (plan section storage). It is changed and taken back by provision alone."
# noatime: reading weights must not write. nofail: a machine whose model disk is broken still starts, so that somebody can
# log in and look. device-timeout: with nofail nobody waits for the disk, and a shelf of disks takes minutes to spin up;
# systemd gives up after 90 s (systemd.mount(5)), and 30 s were too short for a disk of an emulated machine on a busy host
# (2026-11-24).
MOUNT_OPTIONS = ("noatime", "nofail", "x-systemd.device-timeout=5min")
_CHECKED_AT_START = {
    "ext4": 2,
    "xfs": 0,
}  # xfs replays its journal when it is mounted; its fsck does nothing (fsck.xfs(8))
_PROGRAMS = {"ext4": "e2fsprogs", "xfs": "xfsprogs"}


@record
class Volume:
    """A file system on whole disks of its own.

    ``disks``: serial numbers or by-id names. The UUIDs follow from them, so that what is mounted is known before it is made,
    and what was made is recognised. ``array_uuid``: as blkid writes it; "" for a single disk. ``fstab``: the whole file.
    """

    disks: tuple[str, ...]
    level: Literal["raid0", "single"]
    filesystem: Literal["xfs", "ext4"]
    mount_point: str
    options: tuple[str, ...]
    read_ahead_kib: int | None
    wipe: tuple[str, ...]
    array_uuid: str
    filesystem_uuid: str
    packages: tuple[str, ...]
    fstab: str
    model: PlacedModel | None

    @property
    def mdadm_uuid(self) -> str:
        """``array_uuid`` as mdadm writes it: four words of eight digits."""
        digits = self.array_uuid.replace("-", "")
        return ":".join(digits[i : i + 8] for i in range(0, len(digits), 8))


@record
class Storage:
    """``image_room_bytes`` and ``image_inodes``: free room in the engine's data root before a build."""

    state_folder: str
    image_room_bytes: int
    image_inodes: int
    load_seconds: float
    volume: Volume | None = None

    @classmethod
    def desire(cls, snapshot: Snapshot, spec: Spec, cuda: Cuda) -> Storage:
        """Room by accelerator: a CUDA image is several times a CPU one. The volume as provision.toml has it."""
        row = figures()["storage"]
        room = row["room"][cuda.device]
        return cls(
            state_folder=spec.state_folder,
            image_room_bytes=room["image_room_bytes"],
            image_inodes=room["image_inodes"],
            load_seconds=row["load_seconds"],
            volume=_volume(snapshot, spec.storage) if spec.storage.disks else None,
        )

    def promises(self) -> tuple[Promise, ...]:
        """Every precision loads in time."""
        return (Promise(code="STO-P1", promised={"seconds": self.load_seconds}),)


def packages(wish: StorageSpec) -> tuple[str, ...]:
    """The Debian packages that making and mounting the volume needs; none where no disk is named."""
    striped = ("mdadm",) if wish.level == "raid0" else ()
    return tuple(sorted((_PROGRAMS[wish.filesystem], *striped))) if wish.disks else ()


def _volume(snapshot: Snapshot, wish: StorageSpec) -> Volume:
    disks = tuple(name.removeprefix(BY_ID) for name in wish.disks)
    filesystem_uuid = _uuid("file system", wish.filesystem, *disks)
    striped = wish.level == "raid0"
    line = " ".join(
        (
            f"UUID={filesystem_uuid}",
            wish.mount_point,
            wish.filesystem,
            ",".join(MOUNT_OPTIONS),
            "0",
            str(_CHECKED_AT_START[wish.filesystem]),
        )
    )
    return Volume(
        disks=disks,
        level=wish.level,
        filesystem=wish.filesystem,
        mount_point=wish.mount_point,
        options=MOUNT_OPTIONS,
        read_ahead_kib=wish.read_ahead_kib,
        wipe=tuple(sorted(set(wish.wipe))),
        array_uuid=_uuid("array", *disks) if striped else "",
        filesystem_uuid=filesystem_uuid,
        packages=packages(wish),
        fstab=merged(snapshot.get(FileSystemTable), line, wish.mount_point),
        model=wish.model,
    )


def _uuid(*words: str) -> str:
    """A UUID that follows from words: version 8 (RFC 9562: of the maker's own making), from their SHA-256."""
    digits = list(hashlib.sha256("\0".join(("provision", *words)).encode()).hexdigest()[:32])
    digits[12], digits[16] = "8", "89ab"[int(digits[16], 16) % 4]
    text = "".join(digits)
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def merged(present: FileSystemTable | Absent | Missing, line: str, mount_point: str) -> str:
    """``/etc/fstab`` with our mark and our line at its end, what stood there of ours before taken out, all else untouched.

    Raises ``Missing`` where somebody else's line has the mount point.
    """
    if isinstance(present, Missing):
        raise Missing(present.reason)
    lines = [] if isinstance(present, Absent) else present.text.removesuffix("\n").split("\n")
    kept: list[str] = []
    ours = False
    for one in lines:
        if one == MARK:
            ours = True  # and the line behind it
        elif ours:
            ours = False
        else:
            kept.append(one)
    for one in kept:
        words = one.split()
        if len(words) > 1 and not words[0].startswith("#") and words[1].rstrip("/") == mount_point:
            raise Missing(f"/etc/fstab mounts {words[0]} on {mount_point} already; choose another storage.mount_point")
    return "\n".join((*kept, MARK, line)) + "\n"
