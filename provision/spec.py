"""``provision.toml``: what the user wants. Read strictly: an unknown key or a wrong type is refused with its path.

[machine]    name = "gpu-07"                 # shown in reports; the host name where it is left out
[model]      name = "bundled"
[image]      repository = "provision/smoke"  base = "auto"   labels = { team = "ml" }
[expect]     gpus = 8   driver = "580"   memory_gib = 500       # what the machine must have: a card that vanished is a finding
             gpu_model = "H100"  link_width = 16  nvlinks = 18  gpu_memory_bytes = 80000000000
[storage]    disks = ["S4EWNX0N123456", "S4EWNX0N123457"]   level = "raid0"   filesystem = "xfs"   mount_point = "/srv/models"
             read_ahead_kib = 4096   wipe = []       # by serial number or by-id name; wipe: serials whose content may go
[storage.model]   source = "/mnt/usb/DeepSeek-R1"   sha256 = { "config.json" = "<64 hex digits>" }
[[accept]]   code = "STO004"  reason = "scratch machine, reviewed 2026-11-24"  expires = 2027-05-31
"""

from __future__ import annotations

import dataclasses
import datetime
import re
import unicodedata
from pathlib import Path
from typing import Any, Literal

import tomllib

from provision import codec
from provision.errors import CodecError, Refused, UsageError
from provision.record import record

# What the engine accepts as a repository name (distribution's reference grammar, lower-case path components).
_REPOSITORY = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*(?:/[a-z0-9]+(?:[._-][a-z0-9]+)*)*")
_DIGEST = re.compile(r"[^@\s]+@sha256:[0-9a-f]{64}")


@record
class MachineSpec:
    """``name``: how reports call the machine; empty means its host name."""

    name: str = ""


@record
class ModelSpec:
    """``name``: the model the machine is meant for. ``bundled`` is the tiny one the proofs use."""

    name: str = "bundled"


@record
class ImageSpec:
    """``base``: ``auto`` (a digest-pinned image where a registry answers, else bootstrap), ``bootstrap``, or by digest."""

    repository: str = "provision/smoke"
    base: str = "auto"
    labels: dict[str, str] = dataclasses.field(default_factory=dict)


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


@record
class Expect:
    """What the machine must have. ``driver`` is the oldest NVIDIA driver that is right.

    ``gpu_model``: words of every GPU's name ("H100"). ``link_width``: PCIe lanes of every card, at least.
    ``gpu_memory_bytes``: memory of every GPU, at least. ``nvlinks``: active NVLinks of every GPU, at least.
    ``memory_gib``: main memory, at least. ``python``: minor release ("3.11") of the environment in use.
    ``disk_mb_per_s``: measured by ``provision disk``, and unknown to the doctor.
    """

    gpus: int | None = None
    driver: str | None = None
    gpu_model: str | None = None
    link_width: int | None = None
    gpu_memory_bytes: int | None = None
    nvlinks: int | None = None
    memory_gib: float | None = None
    disk_mb_per_s: int | None = None
    python: str | None = None


@record
class Accept:
    """What a check finds, or that it cannot look, waived with a reason that is shown every time.

    ``expires``: the last day on which it holds (``2027-05-31``); "" is no end.
    """

    code: str
    reason: str
    expires: str = ""

    @property
    def words(self) -> str:
        """The reason, with the day it ends where it does."""
        return f"{self.reason} (until {self.expires})" if self.expires else self.reason


@record
class Spec:
    """The whole of ``provision.toml``; every part may be left out."""

    machine: MachineSpec = MachineSpec()
    model: ModelSpec = ModelSpec()
    image: ImageSpec = ImageSpec()
    accelerator: Literal["auto", "cpu", "cu130"] = "auto"
    expect: Expect = Expect()
    storage: StorageSpec = StorageSpec()
    accept: tuple[Accept, ...] = ()
    state_folder: str = "/var/lib/provision"

    def accepted(self, today: str) -> dict[str, str]:
        """Code to the reason it is waived on the day ``today`` (``2026-11-24``)."""
        return {a.code: a.words for a in self.accept if not a.expires or today <= a.expires}

    def expired(self, today: str) -> dict[str, str]:
        """Code to what is said of a waiver that ended before ``today``; one that still holds for the code wins."""
        held = self.accepted(today)
        ended = [a for a in self.accept if a.code not in held]
        return {a.code: f"the waiver ended on {a.expires}: {a.reason}" for a in ended}


def load(path: Path | None) -> Spec:
    """Read a spec. ``None`` looks for ``provision.toml`` here and falls back to the defaults.

    Raises ``UsageError`` (exit 2) naming the file, the key, what was expected and the nearest known key.
    """
    if path is None:
        path = Path("provision.toml")
        if not path.exists():
            return Spec()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from None
    try:
        parsed = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not TOML: {error}") from None
    try:
        spec = codec.load(Spec, _with_dates_as_text(parsed))
        check_values(spec)
    except CodecError as error:
        raise UsageError(f"{path}: {error}") from None
    except Refused as error:
        raise Refused(f"{path}: {error}") from None
    return spec


def _with_dates_as_text(value: Any) -> Any:
    """TOML's own dates as ``2027-05-31``: both spellings of a date are one."""
    if isinstance(value, dict):
        return {key: _with_dates_as_text(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_dates_as_text(item) for item in value]
    return value.isoformat() if isinstance(value, datetime.date) else value


def check_values(spec: Spec) -> None:
    """Refuse what a target language cannot carry (control characters) and names that could never work."""
    _no_control("", codec.dump(spec))
    if not _REPOSITORY.fullmatch(spec.image.repository):
        raise Refused(
            f"image.repository: expected a lower-case image name such as provision/smoke, got {spec.image.repository!r}"
        )
    if spec.image.base not in ("auto", "bootstrap") and not _DIGEST.fullmatch(spec.image.base):
        raise Refused(f"image.base: expected auto, bootstrap or NAME@sha256:<64 hex digits>, got {spec.image.base!r}")
    for key in spec.image.labels:
        if not key or key.startswith("io.provision."):
            raise Refused(f"image.labels: expected a key outside io.provision., got {key!r}")
    if not re.fullmatch(r"/[A-Za-z0-9._/-]+", spec.state_folder) or ".." in spec.state_folder.split("/"):
        raise Refused(f"state_folder: expected an absolute path of plain characters, got {spec.state_folder!r}")
    _check_storage(spec.storage, spec.state_folder)
    for i, entry in enumerate(spec.accept):
        if not entry.reason.strip():
            raise Refused(f"accept[{i}].reason: expected a reason; it is shown with every report")
        if entry.expires and not _is_day(entry.expires):
            raise Refused(f"accept[{i}].expires: expected a day such as 2027-05-31, got {entry.expires!r}")


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


def _check_storage(storage: StorageSpec, state_folder: str) -> None:
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


def _is_day(text: str) -> bool:
    try:
        return datetime.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _no_control(path: str, value: Any) -> None:
    if isinstance(value, str):
        bad = next((c for c in value if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")), None)
        if bad is not None:
            raise Refused(f"{path}: expected one line without control characters, got {value!r}")
    elif isinstance(value, dict):
        for key, item in value.items():
            _no_control(f"{path}.{key!s}" if path else str(key), key)
            _no_control(f"{path}.{key}" if path else key, item)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            _no_control(f"{path}[{i}]", item)
