"""``[storage]`` of provision.toml: a volume for weights on disks of its own."""

from __future__ import annotations

import re
from typing import Literal

from provision.errors import Refused
from provision.record import record


@record
class PlacedModel:
    """Files to put on the volume: ``sha256`` names each (a path below ``source``) with its SHA-256 in hexadecimal.

    ``folder``: their folder below the mount point; empty means the last part of ``source``.
    """

    source: str
    sha256: dict[str, str]
    folder: str = ""

    @property
    def name(self) -> str:
        """The folder below the mount point."""
        return self.folder or self.source.rstrip("/").rpartition("/")[2]


@record
class StorageSpec:
    """A volume for weights on whole disks of its own; none where ``disks`` is empty.

    ``disks``: serial numbers, or names below /dev/disk/by-id. ``wipe``: serial numbers of those among them whose content
    may be destroyed. ``read_ahead_kib``: left out, the kernel's own stays (for a RAID 0 two stripes).
    """

    disks: tuple[str, ...] = ()
    level: Literal["raid0", "single"] = "raid0"
    filesystem: Literal["xfs", "ext4"] = "xfs"
    mount_point: str = "/srv/models"
    read_ahead_kib: int | None = None
    wipe: tuple[str, ...] = ()
    model: PlacedModel | None = None


# What no volume may hide: the system's own folders. Below the second kind too.
_SYSTEM_FOLDERS = frozenset(
    "/ /home /media /mnt /opt /srv /tmp /var /var/cache /var/lib /var/log /var/lib/containerd /var/lib/docker".split()  # noqa: SIM905
)
_CLOSED_FOLDERS = (
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/sys",
    "/usr",
)
_BY_ID = "/dev/disk/by-id/"


def check_storage(storage: StorageSpec, state_folder: str) -> None:
    """Refuse what could hit the wrong disk, hide the system or never work."""
    if not storage.disks:
        if storage != StorageSpec():
            raise Refused("storage.disks: missing; expected the serial numbers of the disks that the volume is made of")
        return
    for i, name in enumerate(storage.disks):
        bare = name.removeprefix(_BY_ID)
        if re.fullmatch(r"(/dev/)?((sd|vd|xvd|hd)[a-z]+|nvme\d+n\d+|md\d+|dm-\d+|mmcblk\d+)(p?\d+)?", name):
            raise Refused(
                f"storage.disks[{i}]: expected a serial number or a name below {_BY_ID}, got {name!r}, which may be another "
                f"disk after the next start; its serial number: lsblk --nodeps --output NAME,SERIAL {_device(name)}"
            )
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:+-]*", bare) or re.search(r"-part\d+$", bare):
            raise Refused(f"storage.disks[{i}]: expected the serial number or by-id name of a whole disk, got {name!r}")
    if len({name.removeprefix(_BY_ID) for name in storage.disks}) != len(storage.disks):
        raise Refused("storage.disks: expected each disk once")
    if storage.level == "raid0" and len(storage.disks) < 2:
        raise Refused('storage.level: "raid0" needs two disks or more, got 1; expected "single" for one disk')
    if storage.level == "single" and len(storage.disks) > 1:
        raise Refused(f'storage.level: "single" is one disk, got {len(storage.disks)}; expected "raid0"')
    _check_mount_point(storage.mount_point, state_folder)
    ahead = storage.read_ahead_kib
    if ahead is not None and not (4 <= ahead <= 1 << 20 and ahead % 4 == 0):
        raise Refused(f"storage.read_ahead_kib: expected whole pages (a multiple of 4) from 4 to 1048576, got {ahead}")
    for i, serial in enumerate(storage.wipe):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:+-]*", serial):
            raise Refused(f"storage.wipe[{i}]: expected a serial number, got {serial!r}")
    if storage.model is not None:
        _check_model(storage.model)


def _device(name: str) -> str:
    return name if name.startswith("/dev/") else f"/dev/{name}"


def _check_mount_point(path: str, state_folder: str) -> None:
    plain = re.fullmatch(r"(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+", path)
    if not plain:
        raise Refused(f"storage.mount_point: expected an absolute path of plain characters, got {path!r}")
    if path in _SYSTEM_FOLDERS or any(f"{path}/".startswith(f"{closed}/") for closed in _CLOSED_FOLDERS):
        raise Refused(f"storage.mount_point: expected a folder of its own such as /srv/models, got the system's {path}")
    if f"{state_folder}/".startswith(f"{path}/") or f"{path}/".startswith(f"{state_folder}/"):
        raise Refused(f"storage.mount_point: {path} and state_folder {state_folder} lie within each other")


def _check_model(model: PlacedModel) -> None:
    if not re.fullmatch(r"(/[^/]+)+/?", model.source) or {".", ".."} & set(model.source.split("/")):
        raise Refused(f"storage.model.source: expected the absolute path of a folder, got {model.source!r}")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", model.name):
        raise Refused(f"storage.model.folder: expected one name of plain characters, got {model.name!r}")
    if not model.sha256:
        raise Refused("storage.model.sha256: expected each file with its SHA-256; sha256sum prints them")
    for name, digest in model.sha256.items():
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._+@=-]*(/[A-Za-z0-9_][A-Za-z0-9._+@=-]*)*", name):
            raise Refused(
                f"storage.model.sha256: expected paths of files below source, of plain characters, none hidden, got {name!r}"
            )
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise Refused(f"storage.model.sha256.{name}: expected 64 lower-case hex digits, got {digest!r}")
