"""What will be changed, from the plan, the facts and the files as they are. Pure: nothing is looked at here.

A step whose outcome depends on another one that has not run yet (the image, where no engine is installed) is listed
with the reason why it cannot be previewed, never left out.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Literal

from provision import roles
from provision.evidence import Ours, Present
from provision.fact import Absent, Missing, Snapshot
from provision.facts.docker import Docker, Images
from provision.facts.units import Units
from provision.plan import Plan
from provision.record import record
from provision.render import Manifest, ManifestFile
from provision.volume import destroyed, refuse, words

NO_NEWLINE = "\\ No newline at end of file"


@record
class Change:
    """One thing that will be different.

    ``detail``: one line, for a file a unified diff. ``additive``: adds only, and undoing takes it back. ``needs``: the
    name that ``--allow`` must give first, or None. ``reason``: why it cannot be previewed, where ``previewable`` is false.
    """

    kind: Literal["package", "file", "unit", "image", "folder", "disk", "mount", "model"]
    what: str
    detail: str
    additive: bool = True
    needs: str | None = None
    previewable: bool = True
    reason: str = ""


def preview(
    plan: Plan,
    snapshot: Snapshot,
    manifest: Manifest,
    wanted: Mapping[str, str],
    present: Present,
    ours: Ours = Ours(),  # noqa: B008 (frozen)
    only: tuple[str, ...] = roles.ALL,
) -> tuple[Change, ...]:
    """Every change that applying ``plan`` would make, in the order of the roles; ``only``: the tags that run.

    ``wanted``: destination to rendered text. ``present``: the files as they are (``evidence.look``). ``ours``: what
    earlier runs put there, so that repairing it is not changing somebody else's. Raises ``ConsentNeeded`` where a disk
    that the volume needs is somebody's.
    """
    manifest = replace(manifest, files=tuple(f for f in manifest.files if f.section in only))
    folders, files = tuple(_folders(plan, manifest, present)), tuple(_files(manifest, wanted, present, ours))
    packages = tuple(_packages(plan, present, only))
    engine_comes = any(p.what == plan.dependencies.engine for p in packages)
    volume = tuple(_volume(plan, present)) if roles.DISKS in only else ()
    unit = tuple(_restart(snapshot, manifest, files))
    if "dependencies" in only:
        unit = (*_start(plan, snapshot, engine_comes), *unit)
    image = tuple(_image(plan, snapshot, engine_comes)) if only == roles.ALL else ()
    return (*folders, *volume, *files, *packages, *unit, *image)


def _folders(plan: Plan, manifest: Manifest, present: Present) -> Iterator[Change]:
    state = plan.storage.state_folder
    needed = {state, f"{state}/runs", *(f.destination.rpartition("/")[0] for f in manifest.files)}
    for folder in sorted(needed & set(present.missing_folders)):
        yield Change(kind="folder", what=folder, detail="make it")


def _files(manifest: Manifest, wanted: Mapping[str, str], present: Present, ours: Ours) -> Iterator[Change]:
    for file in manifest.files:
        before, after = present.text(file.destination), wanted[file.destination]
        # A file that an earlier run made is ours; so is one that only we know (not shared), whoever wrote it last.
        foreign = before is not None and file.shared and file.destination not in ours.files
        if before != after:
            yield Change(
                kind="file",
                what=file.destination,
                detail=unified(file.destination, before, after),
                additive=not foreign,
                needs=_consent(file) if foreign else None,
            )
        elif state := _other_state(file, present):
            yield Change(
                kind="file",
                what=file.destination,
                detail=state,
                additive=not foreign,
                needs=_consent(file) if foreign else None,
            )


def _consent(file: ManifestFile) -> str:
    """What changing somebody else's file needs: a mount stands in fstab, so it is part of the same yes as its disks."""
    return "disks" if file.destination == "/etc/fstab" else "config"


def _volume(plan: Plan, present: Present) -> Iterator[Change]:
    """The disks that are taken, with what is on them; then what is made on them."""
    volume, now = plan.storage.volume, present.volume
    if volume is None or now is None:
        return
    refuse(volume, now)
    use = f"make it part of a RAID 0 of {len(volume.disks)} disks" if volume.array_uuid else "take it whole"
    for disk, holds in destroyed(volume, now):
        detail = (
            f"DESTROY what it holds ({holds}) and {use}; that cannot be undone" if holds else f"{use}; nothing is on it"
        )
        yield Change(kind="disk", what=words(disk), detail=detail, additive=not holds, needs="disks")
    if not now.filesystem:
        yield Change(
            kind="disk",
            what=f"{volume.filesystem} {volume.filesystem_uuid}",
            detail="make the file system",
            needs="disks",
        )
    if not now.mounted:
        detail = f"mount it by UUID with {','.join(volume.options)}"
        yield Change(kind="mount", what=volume.mount_point, detail=detail, needs="disks")
    ahead = volume.read_ahead_kib
    if ahead is not None and now.read_ahead_kib != ahead:
        was = f"{now.read_ahead_kib} -> " if now.read_ahead_kib is not None else ""
        yield Change(kind="disk", what=f"read-ahead of {volume.mount_point}", detail=f"{was}{ahead} KiB")
    if volume.model is not None and (absent := sorted(volume.model.sha256.keys() - set(now.placed))):
        detail = f"place {len(absent)} files from {volume.model.source}, each by its SHA-256"
        yield Change(kind="model", what=f"{volume.mount_point}/{volume.model.name}", detail=detail)


def _other_state(file: ManifestFile, present: Present) -> str:
    """What is different about a file whose content is right; "" where nothing is."""
    now = present.files[file.destination][0]
    pairs = (("mode", now.mode, file.mode), ("owner", now.owner, file.owner), ("group", now.group, file.group))
    return ", ".join(f"{name} {old} -> {new}" for name, old, new in pairs if old != new)


def unified(path: str, before: str | None, after: str) -> str:
    """A unified diff; against nothing where there is no file."""
    old, new = _lines(before or ""), _lines(after)
    named = path if before is not None else "/dev/null"
    return "".join(difflib.unified_diff(old, new, named, path))


def _lines(text: str) -> list[str]:
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += f"\n{NO_NEWLINE}\n"
    return lines


def _packages(plan: Plan, present: Present, only: tuple[str, ...]) -> Iterator[Change]:
    volume = plan.storage.volume if roles.DISKS in only else None
    for name in plan.dependencies.packages if "dependencies" in only else volume.packages if volume else ():
        if name not in present.package_names:
            yield Change(kind="package", what=name, detail="install it, with what it depends on")


def _start(plan: Plan, snapshot: Snapshot, comes: bool) -> Iterator[Change]:
    """The engine is started, now and with the machine."""
    how = {"systemd": "under systemd", "sysvinit": "as a sysvinit service", "direct": "as a background process"}
    start = f"start it {how[plan.dependencies.start]}"
    docker = snapshot.get(Docker)
    units = snapshot.known(Units)
    enabled = {unit.name: unit.enabled for unit in units.units}.get("docker.service") if units else None
    if comes:
        why = "it stands on a package that is not installed yet"
        yield Change(kind="unit", what="docker", detail=start, previewable=False, reason=why)
    elif isinstance(docker, Absent):
        yield Change(kind="unit", what="docker", detail=start)
    elif isinstance(docker, Missing):
        # A socket that is there and does not answer is what a stopped engine leaves behind.
        yield Change(kind="unit", what="docker", detail=start, previewable=False, reason=docker.reason)
    elif plan.dependencies.start != "direct" and enabled == "disabled":
        yield Change(kind="unit", what="docker", detail="enable it, so that it starts with the machine")


def _restart(snapshot: Snapshot, manifest: Manifest, files: tuple[Change, ...]) -> Iterator[Change]:
    """An engine that runs takes up changed settings."""
    docker = snapshot.get(Docker)
    restarting = {f.destination for f in manifest.files if f.restart} & {c.what for c in files}
    if restarting and not isinstance(docker, (Absent, Missing)):
        busy = docker.running_containers > 0 and not docker.live_restore
        yield Change(
            kind="unit",
            what="docker",
            detail=f"restart it: {', '.join(sorted(restarting))} changes"
            + (f"; {docker.running_containers} running containers stop" if busy else ""),
            additive=not busy,
            needs="config" if busy else None,
        )


def _image(plan: Plan, snapshot: Snapshot, engine_comes: bool) -> Iterator[Change]:
    images = snapshot.get(Images)
    wanted = plan.rollout.image
    if not isinstance(images, (Absent, Missing)):
        if any(wanted in image.tags for image in images.images):
            return
        why = "what is in it follows from the lock; it is built once the engine runs"
    else:
        why = "no engine is installed yet" if engine_comes or isinstance(images, Absent) else images.reason
    yield Change(kind="image", what=wanted, detail="build it from the lock", previewable=False, reason=why)
