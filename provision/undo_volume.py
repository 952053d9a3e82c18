"""What undoing a run takes back of the volume for weights: only what that run made, and never somebody's files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from provision import codec, volume
from provision.host import Host
from provision.volume import VolumeBefore


def steps(host: Host, before: VolumeBefore | None, kept: list[str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What files/volume.py is asked to remove (empty: nothing), and which of the model's files go. Changes nothing.

    An array or a file system that the run made goes with its superblocks, unless it holds files that the run did not place:
    then it is unmounted and stopped, and what is on the disks stays. The same where nobody can see what it holds.
    """
    if before is None:
        return {}, ()
    now = volume.look(host, before.volume)
    plan = before.volume
    if before.array or before.filesystem:  # an array that did not run then may have held anything
        placed = tuple(sorted(set(now.placed) - set(before.placed)))
        goes = {"forget": False, "stop": False} if now.mounted and not before.mounted else {}
        return ({**codec.dump(plan), **goes} if goes else {}), placed
    if not now.array and not now.filesystem:
        return {}, ()
    back = f"mount UUID={plan.filesystem_uuid} {plan.mount_point}"
    if plan.array_uuid:
        back = f"mdadm --assemble --scan --uuid={plan.mdadm_uuid}; {back}"
    reason = ""
    if not now.filesystem and not now.blank:
        reason = "the array does not run, or holds a file system that is not of this run"
    elif now.filesystem and not now.mounted:
        reason = f"{plan.mount_point} is not mounted, so that what the volume holds cannot be seen"
    elif now.filesystem and (count := volume.others(host, plan)):
        reason = f"the volume of {plan.mount_point} holds {count} files that are not of this run"
    if reason:
        kept.append(f"{reason}: what is on its disks stays; to reach it: {back}")
    return {**codec.dump(plan), "forget": not reason, "stop": bool(plan.array_uuid)}, ()


def folders(before: VolumeBefore | None) -> set[str]:
    """The mount point and the folders above it: those go that the run made."""
    if before is None:
        return set()
    place = Path(before.volume.mount_point)
    return {str(place), *map(str, place.parents)}
