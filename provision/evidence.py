"""What a machine was like before a run changed it, and what the run did: all that ``provision apply --undo`` needs.

    <run>/replaced/evidence.json   who, when, plan, tool version; packages, files, folders, engine as they were
    <run>/replaced/files/…         the files that were there, byte for byte
    <run>/replaced/after.json      what the run added, written when it ends, however it ends

The first two are also kept on the machine itself, under ``<state folder>/runs/<run>/``.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import getpass
import hashlib
import json
import os
from pathlib import Path, PurePosixPath

from provision import __version__, codec
from provision.errors import ChangeError, CodecError, UsageError
from provision.fact import Absent, Missing
from provision.files import write_whole
from provision.host import Host
from provision.plan import Plan
from provision.render import Manifest

SCHEMA = 1
SOCKET = "/run/docker.sock"
SLOW_SECONDS = 30.0  # reading a few files and dpkg's list: 0.1 s on this project's machine; the rest is for slow disks
# What the engine makes for itself when it runs. Taken back with the engine's package, where it was not there before.
ENGINE_FOLDERS = ("/etc/docker", "/var/lib/docker", "/var/lib/containerd", "/run/docker", "/run/containerd")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FileState:
    """A managed file as it was. ``content`` stays out of evidence.json: it is the file beside it."""

    destination: str
    sha256: str
    mode: str
    owner: str
    group: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
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
    engine_answered: bool
    engine_enabled: bool
    docker_group: bool


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class After:
    """``after.json``: what was different when the run ended. ``files``: destination to SHA-256 as this run left it."""

    schema: int = SCHEMA
    added_packages: dict[str, str]
    altered_packages: dict[str, tuple[str, str]]
    files: dict[str, str]
    images: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Present:
    """The machine's side of the plan: files with their content, folders that are not there, installed packages."""

    files: dict[str, tuple[FileState, bytes]]
    missing_folders: tuple[str, ...]
    packages: dict[str, str]
    residual_packages: tuple[str, ...]  # removed by somebody, their configuration kept

    @property
    def package_names(self) -> frozenset[str]:
        """Installed packages, without the architecture that dpkg adds to some."""
        return frozenset(name.partition(":")[0] for name in self.packages)

    def text(self, destination: str) -> str | None:
        """A file's text for a preview, or None where there is no file."""
        found = self.files.get(destination)
        return None if found is None else found[1].decode(errors="replace")


def look(host: Host, manifest: Manifest, plan: Plan) -> Present:
    """Read every managed file and see which folders are missing. Raises ``ChangeError`` for what is no plain file."""
    state = plan.storage.state_folder
    folders = {str(p) for f in manifest.files for p in _ancestors(f.destination)} | {
        state,
        *map(str, _ancestors(state)),
    }
    folders |= {f"{state}/runs", f"{state}/engine", *ENGINE_FOLDERS}
    wanted = sorted({f.destination for f in manifest.files} | folders)
    try:
        # One line for each path that is there; status 1 says that some are not.
        seen = host.run("stat", "--format=%F|%a|%U|%G|%n", "--", *wanted, timeout=SLOW_SECONDS, ok=(0, 1))
    except (Absent, Missing) as reason:
        raise ChangeError(f"what is to be replaced cannot be looked at: {reason.reason}") from None
    there: dict[str, tuple[str, str, str, str]] = {}
    for line in seen.splitlines():
        kind, mode, owner, group, path = line.split("|", 4)
        there[path] = (kind, mode.zfill(4), owner, group)
    files = {}
    for file in manifest.files:
        if file.destination not in there:
            continue
        kind, mode, owner, group = there[file.destination]
        if kind not in ("regular file", "regular empty file"):
            raise ChangeError(
                f"{file.destination} is a {kind}, not a plain file; it is not replaced", f"ls -l {file.destination}"
            )
        content = _content(host, file.destination)
        sha = hashlib.sha256(content).hexdigest()
        state_of = FileState(destination=file.destination, sha256=sha, mode=mode, owner=owner, group=group)
        files[file.destination] = (state_of, content)
    packages, residual = installed(host)
    return Present(
        files=files,
        missing_folders=tuple(sorted(folders - there.keys())),
        packages=packages,
        residual_packages=residual,
    )


def take(host: Host, run: Path, plan: Plan, manifest: Manifest, present: Present) -> Evidence:
    """Write what the machine is like now to ``run/replaced``, before anything is changed."""
    now = datetime.datetime.now(datetime.UTC)
    evidence = Evidence(
        run=f"{now:%Y%m%dT%H%M%SZ}-{run.name}",
        who=_who(),
        when=now.isoformat(timespec="seconds"),
        plan=plan.digest,
        machine=plan.machine,
        tool_version=__version__,
        state_folder=plan.storage.state_folder,
        managed=tuple(f.destination for f in manifest.files),
        files=tuple(state for state, _ in present.files.values()),
        missing_folders=present.missing_folders,
        packages=present.packages,
        residual_packages=present.residual_packages,
        engine_answered=engine_answers(host),
        engine_enabled=_enabled(host),
        docker_group=_has_docker_group(host),
    )
    folder = run / "replaced"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for destination, (_, content) in present.files.items():
        copy = folder / f"files{destination}"
        copy.parent.mkdir(parents=True, exist_ok=True)
        write_whole(copy, content, 0o600)
    write_whole(folder / "evidence.json", codec.dumps(evidence), 0o600)
    return evidence


def finish(host: Host, run: Path, evidence: Evidence) -> After:
    """Write what the run added. Called when it ends, also when it fails."""
    packages, _ = installed(host)
    after = After(
        added_packages={k: v for k, v in packages.items() if k not in evidence.packages},
        altered_packages={
            k: (evidence.packages[k], v) for k, v in packages.items() if evidence.packages.get(k, v) != v
        },
        files={d: sha for d in evidence.managed if (sha := digest_of(host, d))},
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


def installed(host: Host) -> tuple[dict[str, str], tuple[str, ...]]:
    """Every installed Debian package with its version, and those of which only the configuration is left."""
    layout = "${db:Status-Status} ${binary:Package} ${Version}\n"
    try:
        text = host.run("dpkg-query", "--show", f"--showformat={layout}", timeout=SLOW_SECONDS)
    except (Absent, Missing) as reason:
        raise ChangeError(f"which packages are installed cannot be seen: {reason.reason}", "dpkg --audit") from None
    rows = [line.split(" ", 2) for line in text.splitlines()]
    here = {name: version for status, name, version in rows if status not in ("not-installed", "config-files")}
    return here, tuple(sorted(name for status, name, _ in rows if status == "config-files"))


def engine_answers(host: Host) -> bool:
    """Whether an engine answers on the standard socket."""
    try:
        host.get(SOCKET, "/version")
    except (Absent, Missing):
        return False
    return True


def digest_of(host: Host, path: str) -> str:
    """SHA-256 of a file's bytes; "" where there is none."""
    return hashlib.sha256(_content(host, path)).hexdigest() if host.exists(path) else ""


def history(runs: Path) -> tuple[Path, ...]:
    """The runs beside each other in ``runs`` that changed something and were not undone, the newest first."""
    found = (p for p in sorted(runs.glob("[0-9]*"), reverse=True) if (p / "replaced/evidence.json").exists())
    return tuple(p for p in found if not (p / "replaced/undone.json").exists())


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
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
        packages |= {name.partition(":")[0] for name in (after.added_packages if after else ())}
    return Ours(files=frozenset(files), packages=frozenset(packages))


def _content(host: Host, path: str) -> bytes:
    """A file's exact bytes; ``host.read`` gives text."""
    try:
        return base64.b64decode(host.run("base64", "--wrap=0", "--", path, timeout=SLOW_SECONDS))
    except (Absent, Missing) as reason:
        raise ChangeError(
            f"{path} cannot be read, so it could not be put back: {reason.reason}", f"ls -l {path}"
        ) from None


def _ancestors(path: str) -> tuple[PurePosixPath, ...]:
    return tuple(p for p in PurePosixPath(path).parents if str(p) not in ("/", "."))


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
