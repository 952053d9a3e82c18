"""What a machine was like before a run changed it, and what the run did: all that ``provision apply --undo`` needs.

    <run>/replaced/evidence.json   who, when, plan, tool version; packages, files, folders, engine as they were
    <run>/replaced/files/…         the files that were there, byte for byte
    <run>/replaced/after.json      what the run added, written when it ends, however it ends

The first two are also kept on the machine itself, under ``<state folder>/runs/<run>/``.
"""

from __future__ import annotations

import dataclasses
import datetime
import getpass
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from provision import __version__, codec
from provision.errors import CodecError, UsageError
from provision.fact import Absent, Missing
from provision.files import write_whole
from provision.host import Host
from provision.plan import Plan
from provision.present import ENGINE_FOLDERS, FileState, Present, installed, look, state_of
from provision.record import record
from provision.volume import VolumeBefore
from provision.volume import before as volume_before

SCHEMA = 1
SOCKET = "/run/docker.sock"


@record
class Evidence:
    """``evidence.json``. ``run`` is also the folder's name on the machine. ``files``: those that were there already."""

    schema: int = SCHEMA
    run: str
    who: str
    when: str
    plan: str
    machine: str
    tool_version: str
    state_folder: str
    managed: tuple[str, ...]
    files: tuple[FileState, ...]
    missing_folders: tuple[str, ...]
    packages: dict[str, str]
    residual_packages: tuple[str, ...]  # removed by somebody, their configuration kept
    missing_packages: tuple[str, ...] = ()  # what the run set out to install; evidence of before 2026-11-24 lacks it
    engine_answered: bool
    engine_enabled: bool
    docker_group: bool
    volume: VolumeBefore | None = None  # None: none was planned


@record
class After:
    """``after.json``: what was different when the run ended. ``files``: destination to SHA-256 as this run left it."""

    schema: int = SCHEMA
    added_packages: dict[str, str]
    altered_packages: dict[str, tuple[str, str]]
    files: dict[str, str]
    images: tuple[str, ...] = ()


def take(host: Host, run: Path, plan: Plan, present: Present, wanted: Mapping[str, FileState]) -> Evidence:
    """Write what the machine is like now to ``run/replaced``, before anything is changed.

    ``wanted``: the managed files as they will be; of those that are otherwise now, the content is kept. A run that is
    applied again keeps its first evidence: what it replaced is what was there before it first began.
    """
    folder = run / "replaced"
    if (folder / "undone.json").exists():
        shutil.rmtree(folder)
    if (folder / "evidence.json").exists():
        return read(run)
    now = datetime.datetime.now(datetime.timezone.utc)
    evidence = Evidence(
        run=f"{now:%Y%m%dT%H%M%SZ}-{run.name}",
        who=_who(),
        when=now.isoformat(timespec="seconds"),
        plan=plan.digest,
        machine=plan.machine,
        tool_version=__version__,
        state_folder=plan.storage.state_folder,
        managed=tuple(sorted(wanted)),
        files=tuple(state for state, _ in present.files.values()),
        missing_folders=present.missing_folders,
        packages=present.packages,
        residual_packages=present.residual_packages,
        missing_packages=tuple(p for p in plan.dependencies.packages if p not in present.package_names),
        engine_answered=engine_answers(host),
        engine_enabled=_enabled(host),
        docker_group=_has_docker_group(host),
        volume=volume_before(plan.storage.volume, present.volume) if plan.storage.volume and present.volume else None,
    )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for destination, (state, content) in present.files.items():
        if state != wanted[destination]:
            copy = folder / f"files{destination}"
            copy.parent.mkdir(parents=True, exist_ok=True)
            write_whole(copy, content, 0o600)
    write_whole(folder / "evidence.json", codec.dumps(evidence), 0o600)
    return evidence


def finish(host: Host, run: Path, evidence: Evidence) -> After:
    """Write what the run added. Called when it ends, also when it fails."""
    packages, _ = installed(host)
    earlier = read_after(run)
    after = After(
        added_packages={k: v for k, v in packages.items() if k not in evidence.packages},
        altered_packages={
            k: (evidence.packages[k], v) for k, v in packages.items() if evidence.packages.get(k, v) != v
        },
        files={path: state.sha256 for path, state in state_of(host, evidence.managed).items()},
        images=earlier.images if earlier else (),
    )
    write_whole(run / "replaced/after.json", codec.dumps(after), 0o600)
    return after


def note_image(run: Path, image: str) -> None:
    """Add an image of ours to what the run added, so that undoing it removes the image too."""
    after = read_after(run)
    if after is None:
        raise UsageError(f"{run}: nothing was applied in this run yet", "provision apply")
    images = tuple(sorted({*after.images, image}))
    write_whole(run / "replaced/after.json", codec.dumps(dataclasses.replace(after, images=images)), 0o600)


def read(run: Path) -> Evidence:
    """The evidence of a run. Raises ``UsageError`` where the run changed nothing yet."""
    path = run / "replaced/evidence.json"
    try:
        return codec.load(Evidence, json.loads(path.read_text()))
    except FileNotFoundError:
        raise UsageError(f"{run}: nothing was applied in this run, so there is nothing to take back") from None
    except (ValueError, CodecError) as error:
        raise UsageError(f"{path}: {error}") from None


def read_after(run: Path) -> After | None:
    """What the run added, or None where it was killed before it could say."""
    path = run / "replaced/after.json"
    try:
        return codec.load(After, json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, CodecError) as error:
        raise UsageError(f"{path}: {error}") from None


def engine_answers(host: Host) -> bool:
    """Whether an engine answers on the standard socket.

    Where systemd holds the socket for a stopped engine, nobody connects: that would start it.
    """
    try:
        states = host.run("systemctl", "is-active", "docker.socket", "docker.service", ok=(0, 3, 4)).split()
        if states[:1] == ["active"] and states[1:] in (["inactive"], ["failed"]):
            return False
    except (Absent, Missing):
        pass  # no systemd here
    try:
        host.get(SOCKET, "/version")
    except (Absent, Missing):
        return False
    return True


def history(runs: Path) -> tuple[Path, ...]:
    """The runs beside each other in ``runs`` that changed something and were not undone, the newest first."""
    found = (p for p in sorted(runs.glob("[0-9]*"), reverse=True) if (p / "replaced/evidence.json").exists())
    return tuple(p for p in found if not (p / "replaced/undone.json").exists())


@record
class Ours:
    """What earlier runs put on this machine: changing it again is not changing somebody else's."""

    files: frozenset[str] = frozenset()
    packages: frozenset[str] = frozenset()


def ours(runs: Path) -> Ours:
    """From the evidence of the runs in ``runs``: files that were not there before, packages that were added."""
    files: set[str] = set()
    packages: set[str] = set()
    for run in history(runs):
        evidence, after = read(run), read_after(run)
        files |= set(evidence.managed) - {f.destination for f in evidence.files}
        # A run that was killed could not say what it added; what it set out to install was not there before it.
        packages |= {
            name.partition(":")[0] for name in (*evidence.missing_packages, *(after.added_packages if after else ()))
        }
    return Ours(files=frozenset(files), packages=frozenset(packages))


def _enabled(host: Host) -> bool:
    try:
        return host.run("systemctl", "is-enabled", "docker.service", ok=(0, 1, 4)).strip() == "enabled"
    except (Absent, Missing):
        return False


def _has_docker_group(host: Host) -> bool:
    try:
        return any(line.startswith("docker:") for line in host.read("/etc/group").splitlines())
    except (Absent, Missing):
        return False


def _who() -> str:
    """The person, also behind sudo."""
    name = os.environ.get("SUDO_USER")
    if name:
        return f"{name} (through sudo)"
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in a container
        return str(os.getuid())


def on_the_machine(evidence: Evidence) -> str:
    """Where the machine keeps its own copy."""
    return f"{evidence.state_folder}/runs/{evidence.run}"


__all__ = [
    "ENGINE_FOLDERS",
    "SOCKET",
    "After",
    "Evidence",
    "FileState",
    "Ours",
    "Present",
    "engine_answers",
    "finish",
    "history",
    "installed",
    "look",
    "note_image",
    "on_the_machine",
    "ours",
    "read",
    "read_after",
    "state_of",
    "take",
]
