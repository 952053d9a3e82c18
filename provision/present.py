"""The machine's side of the plan, read through ``Host``: managed files, folders and packages as they are now."""

from __future__ import annotations

import base64
import hashlib
from pathlib import PurePosixPath

from provision.errors import ChangeError
from provision.fact import Absent, Missing
from provision.host import Host
from provision.plan import Plan
from provision.record import record
from provision.render import Manifest
from provision.volume import VolumeState
from provision.volume import look as look_at_volume

SLOW_SECONDS = 30.0  # reading a few files and dpkg's list: 0.1 s on this project's machine; the rest is for slow disks
# What the engine makes for itself when it runs. Taken back with the engine's package, where it was not there before. The
# last two are containerd's own as a service: /etc/cni was seen left behind (Debian 12 with systemd, 2026-11-24),
# /opt/containerd is the default folder of its "opt" plugin.
ENGINE_FOLDERS = (
    *("/etc/docker", "/var/lib/docker", "/var/lib/containerd", "/run/docker", "/run/containerd"),
    *("/etc/cni", "/opt/containerd"),
)


@record
class FileState:
    """A managed file as it was. ``content`` stays out of evidence.json: it is the file beside it."""

    destination: str
    sha256: str
    mode: str
    owner: str
    group: str


@record
class Present:
    """The machine's side of the plan: files with their content, folders that are not there, installed packages."""

    files: dict[str, tuple[FileState, bytes]]
    missing_folders: tuple[str, ...]
    packages: dict[str, str]
    residual_packages: tuple[str, ...]  # removed by somebody, their configuration kept
    volume: VolumeState | None = None  # None: none is planned

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
    if plan.storage.volume:
        place = plan.storage.volume.mount_point
        folders |= {place, *map(str, _ancestors(place))}
    there = _stat(host, sorted({f.destination for f in manifest.files} | folders))
    files = {f.destination: _file(host, f.destination, there) for f in manifest.files if f.destination in there}
    packages, residual = installed(host)
    return Present(
        files=files,
        missing_folders=tuple(sorted(folders - there.keys())),
        packages=packages,
        residual_packages=residual,
        volume=look_at_volume(host, plan.storage.volume) if plan.storage.volume else None,
    )


def state_of(host: Host, paths: tuple[str, ...]) -> dict[str, FileState]:
    """Those of ``paths`` that are there, as they are now."""
    there = _stat(host, sorted(paths))
    return {path: _file(host, path, there)[0] for path in paths if path in there}


def _stat(host: Host, paths: list[str]) -> dict[str, tuple[str, str, str, str]]:
    """Path to kind, mode, owner and group, for those that are there."""
    try:
        # One line for each path that is there; status 1 says that some are not.
        seen = host.run("stat", "--format=%F|%a|%U|%G|%n", "--", *paths, timeout=SLOW_SECONDS, ok=(0, 1))
    except (Absent, Missing) as reason:
        raise ChangeError(f"what is to be replaced cannot be looked at: {reason.reason}") from None
    rows = (line.split("|", 4) for line in seen.splitlines())
    return {path: (kind, mode.zfill(4), owner, group) for kind, mode, owner, group, path in rows}


def _file(host: Host, path: str, there: dict[str, tuple[str, str, str, str]]) -> tuple[FileState, bytes]:
    kind, mode, owner, group = there[path]
    if kind not in ("regular file", "regular empty file"):
        raise ChangeError(f"{path} is a {kind}, not a plain file; it is not replaced", f"ls -l {path}")
    content = _content(host, path)
    sha = hashlib.sha256(content).hexdigest()
    return FileState(destination=path, sha256=sha, mode=mode, owner=owner, group=group), content


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
