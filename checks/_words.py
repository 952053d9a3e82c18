"""How checks spell sizes, versions and lists, and questions that several of them ask of the same facts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from provision.check import NotApplicable
from provision.fact import Absent, Missing
from provision.facts.disks import Disks, Mount, Mounts
from provision.facts.docker import DaemonJson, Docker
from provision.facts.gpus import Gpus
from provision.facts.kernels import Kernels
from provision.facts.models import ModelFiles, ModelFolder
from provision.plan import GpuMemory, Serving

DEFAULT_DATA_ROOT = "/var/lib/docker"  # where the engine keeps its data unless daemon.json says otherwise
_KIB, _MIB, _GIB = 1 << 10, 1 << 20, 1 << 30


def size(count: int) -> str:
    """Bytes for people: "36.0 GiB", "512 MiB", "20 KiB". Two sizes that differ may read the same: say both in bytes too."""
    if abs(count) >= _GIB:
        return f"{count / _GIB:.1f} GiB"
    if abs(count) >= _MIB:
        return f"{count / _MIB:.0f} MiB"
    return f"{count / _KIB:.0f} KiB"


def listed(items: Iterable[object]) -> str:
    """ "a", "a and b", "a, b and c"."""
    words = [str(item) for item in items]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def counted(number: int, one: str, many: str = "") -> str:
    """ "1 GPU", "2 GPUs"."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def data_root(docker: Docker | Absent | Missing, daemon_json: DaemonJson | Absent | Missing) -> str:
    """Where the engine keeps its data, or will once it runs."""
    if isinstance(docker, Docker):
        return docker.data_root
    if isinstance(daemon_json, DaemonJson):
        chosen = settings(daemon_json).get("data-root")
        if isinstance(chosen, str):
            return chosen
    return DEFAULT_DATA_ROOT


def settings(daemon_json: DaemonJson) -> dict[str, Any]:
    """The engine's settings; empty where the file is not a JSON object (DEP006 says so)."""
    if daemon_json.error is not None:
        return {}
    content: dict[str, Any] = json.loads(daemon_json.text or "{}")
    return content


def all_models(files: ModelFiles, whole: bool = False) -> Iterator[ModelFolder]:
    """The folders with models. Raises ``Missing`` behind the last where something was not seen (``whole``: in them, too)."""
    yield from files.folders
    if files.not_seen:
        raise Missing("; ".join(files.not_seen))
    for folder in files.folders:
        if whole and not folder.whole:
            raise Missing(f"{folder.path} holds more than the {folder.files} files that were looked at")


def mount_of(path: str, mounts: Mounts) -> Mount:
    """The mount that holds ``path``, there already or not. Raises ``Missing`` where none of those seen does."""
    holding = [m for m in mounts.mounts if m.mount_point == "/" or f"{path}/".startswith(f"{m.mount_point}/")]
    if not holding:
        raise Missing(f"none of the mounts that were seen holds {path}")
    return max(holding, key=lambda m: len(m.mount_point))


def served(gpus: Gpus | Missing, plan: GpuMemory) -> Serving:
    """How the model of provision.toml is to be served here.

    Raises ``NotApplicable`` for the bundled model, ``Missing`` where no card could be judged.
    """
    if plan.serving is not None:
        return plan.serving
    if not plan.unserved:
        raise NotApplicable("provision.toml plans no model but the bundled one")
    raise Missing(gpus.reason if isinstance(gpus, Missing) else plan.unserved)


def kernel_order(release: str) -> tuple[tuple[int, ...], str]:
    """ "6.1.0-28-amd64" as ((6, 1, 0, 28), "amd64"): releases of one flavour come in order."""
    numbers: list[str] = []
    flavour: list[str] = []
    for part in release.replace("-", ".").split("."):
        (numbers if part.isdigit() and not flavour else flavour).append(part)
    return tuple(int(n) for n in numbers), ".".join(flavour)


def newest_to_come(kernels: Kernels) -> str | None:
    """The newest kernel of the running one's flavour that can start and is newer; None: the newest runs."""
    own, flavour = kernel_order(kernels.running)
    bootable = [k.release for k in kernels.installed if k.bootable]
    newer = [r for r in bootable if kernel_order(r)[1] == flavour and kernel_order(r)[0] > own]
    return max(newer, key=kernel_order, default=None)


def turning(place: Mount, disks: Disks) -> tuple[list[str], list[str]]:
    """The rotating disks beneath a mount, and the virtual ones that claim to be such (see ``unclear``)."""
    beneath = [disk for disk in disks.disks if disk.name in place.disks]
    return [d.name for d in beneath if d.turns], [d.name for d in beneath if d.turns is None]


def unclear(virtual: list[str]) -> Missing:
    """To be raised where nothing turns for certain and a virtual disk may lie on one that does."""
    return Missing(
        f"{virtual[0]} is a virtual disk, and what it lies on only its host knows; 'provision disk' measures it"
    )
