"""Room on the disk for the planned model."""

from __future__ import annotations

from collections.abc import Iterator

from provision.check import ERROR, Finding, NotApplicable, check
from provision.checks._words import mount_of, served, size
from provision.fact import Absent, Missing
from provision.facts.caches import CacheFolders
from provision.facts.disks import Mount, Mounts
from provision.facts.gpus import Gpus
from provision.facts.models import ModelFiles
from provision.plan import GpuMemory


@check("STO080", ERROR, cause="disk-full")
def planned_model_larger_than_room(
    gpus: Gpus | Missing, plan: GpuMemory, folders: CacheFolders, mounts: Mounts, files: ModelFiles | Absent | Missing
) -> Iterator[Finding]:
    """The planned model is larger than the room in the folder for models.

    A download of hundreds of gigabytes ends with "no space left on device" near its end. Where the folder holds models
    already, the planned one may be among them, whole or in part: then this is a warning.

    ## Fix
    Make room (`hf cache ls`, `hf cache rm`), or point HF_HOME at a larger disk.

    ## Proof
    None of its own: `provision doctor --select STO080` measures again.
    """
    serving = served(gpus, plan)
    if serving.here:
        raise NotApplicable("the planned model lies in its folder already")
    path, mount = _roomiest(folders, mounts)
    free = mount.free_bytes or 0
    if free < serving.checkpoint_bytes:
        there = _there(path, files)
        certain = there is not None and free + there < serving.checkpoint_bytes
        yield Finding(
            f"{serving.model} takes {size(serving.checkpoint_bytes)} on disk; {path} has {size(free)} free",
            measured={"free_bytes": free, "mount_point": mount.mount_point},
            needed={"free_bytes": serving.checkpoint_bytes},
            fix=("hf cache ls", f"df -h {mount.mount_point}"),
            certainty="certain" if certain else "possible",
            tell_apart=() if certain else (f"du -sh {path}/hub/models--*   # whether it is there already",),
        )


def _roomiest(folders: CacheFolders, mounts: Mounts) -> tuple[str, Mount]:
    """The folder for models with the most room; before there is one, the one for caches, in which it would be made."""
    where = [one for one in folders.folders if one.purpose == "models"]
    where = where or [one for one in folders.folders if one.path.endswith("/.cache")]
    if not where:
        raise NotApplicable("no folder for models is here yet, and no variable such as HF_HOME names one")
    held = [(one.path, mount_of(one.path, mounts)) for one in where]
    seen = [(path, mount) for path, mount in held if mount.free_bytes is not None]
    if not seen:
        raise Missing(f"{held[0][1].mount_point}: {held[0][1].unreachable}")
    return max(seen, key=lambda each: each[1].free_bytes or 0)


def _there(path: str, files: ModelFiles | Absent | Missing) -> int | None:
    """Bytes that lie in the folder; None: not known, or more than was looked at."""
    if isinstance(files, Missing):
        return None
    if isinstance(files, Absent):
        return 0
    if files.not_seen or any(not one.whole for one in files.folders):
        return None
    return sum(
        one.bytes
        for one in files.folders
        if f"{one.path}/".startswith(f"{path}/") or f"{path}/".startswith(f"{one.path}/")
    )
