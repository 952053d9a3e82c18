"""Files of installed Python packages against the hashes that their RECORD keeps. Only on request: it reads gigabytes."""

from __future__ import annotations

import posixpath
from typing import Any

from provision.fact import Absent, Missing, NotKnown, fact, probe
from provision.facts.image_packages import PREFIX, ImagePackages
from provision.facts.locked import LockedEnvironment
from provision.facts.packages import environment_in_use
from provision.facts.python import Pythons
from provision.host import Host, together
from provision.record import record

NOT_ASKED = "the files of installed packages are compared on request: provision doctor --files"
# torch for the CPU and what it needs, 20,826 files, 0.97 GiB, took 1.8 to 3.8 s (2 busy cores, 2026-11-24). A CUDA build is
# several times that; the rest is for slow disks and network file systems.
SECONDS = 300.0


@record
class FilesLooked:
    place: str  # prefix of an environment, or an image's tag
    packages: int  # whose RECORD was read
    files: int  # that were hashed
    bytes: int
    edited: int
    missing: int
    unreadable: int
    named: dict[str, tuple[str, ...]]  # "edited": ("torch 2.13.0: /opt/venv/…",): the first of each kind
    without_record: tuple[str, ...]  # "name version" of packages without a RECORD that can be read
    passed_over: dict[str, int]  # why files were not judged, and how many
    unfinished: str  # why not everything was looked at; empty where it was


@fact
class InstalledFiles:
    """Absent unless it was asked for."""

    places: tuple[FilesLooked, ...]  # environments, then images, each sorted by its name; at least one


@probe
def installed_files(
    host: Host,
    pythons: Pythons,
    locked: LockedEnvironment | Absent | Missing,
    images: ImagePackages | Absent | Missing,
) -> InstalledFiles:
    """Every file that a RECORD lists with a hash, hashed: of the environment in use, the one with a lock, and our images.

    Source: PyPA "Recording installed projects": ``RECORD`` in every ``*.dist-info``. The distribution's own packages are
    left out: its package manager keeps the record (``dpkg --verify``).
    """
    if not host.asked("files"):
        raise Absent(NOT_ASKED)
    prefixes = {environment_in_use(host, pythons), *([locked.prefix] if isinstance(locked, LockedEnvironment) else [])}
    work: list[tuple[str, tuple[str, ...], tuple[str, ...], str]] = []
    for prefix in sorted(prefixes):
        folders = _folders(host, prefix)
        if folders:
            work.append((prefix, (), folders, ""))
    for one in images.images if isinstance(images, ImagePackages) else ():
        if one.python or one.unread:
            folder = f"{PREFIX}/lib/python{one.python}/site-packages"
            work.append((one.image, one.layers, (folder,), one.unread))
    if not work:
        raise Absent("there is neither a Python environment nor an image with packages of pip's")
    answers = together([lambda w=w: _look(host, *w) for w in work])  # type: ignore[misc]
    return InstalledFiles(
        places=tuple(
            _looked(w[0], {"unfinished": one.reason}) if isinstance(one, NotKnown) else one
            for w, one in zip(work, answers)  # noqa: B905 (strict: the lengths are the same)
        )
    )


def _folders(host: Host, prefix: str) -> tuple[str, ...]:
    roots = ("/usr/local",) if prefix == "/usr" else (prefix,)
    found: dict[str, str] = {}
    for root in roots:
        for name in ("site-packages", "dist-packages"):
            for lib in ("lib", "lib64"):
                for folder in host.glob(f"{root}/{lib}/python3.*/{name}"):
                    found.setdefault(host.real(folder), posixpath.normpath(folder))
    return tuple(sorted(found.values()))


def _look(host: Host, place: str, layers: tuple[str, ...], folders: tuple[str, ...], unread: str) -> FilesLooked:
    if unread:
        raise Missing(unread)
    return _looked(place, host.installed(layers, folders, SECONDS))


def _looked(place: str, said: dict[str, Any]) -> FilesLooked:
    counts = {
        name: int(said.get(name, 0)) for name in ("packages", "files", "bytes", "edited", "missing", "unreadable")
    }
    return FilesLooked(
        place=place,
        **counts,
        named={kind: tuple(paths) for kind, paths in said.get("named", {}).items()},
        without_record=tuple(said.get("without_record", ())),
        passed_over=dict(said.get("passed_over", {})),
        unfinished=str(said.get("unfinished", "")),
    )


def words(found: InstalledFiles | Absent | Missing) -> tuple[str, ...]:
    """How much was looked at, a line for each place."""
    if isinstance(found, NotKnown):
        return (f"no files of installed packages were hashed: {found.reason}",)
    return tuple(_line(one) for one in found.places)


def _line(one: FilesLooked) -> str:
    passed = [f"{count} {why}" for why, count in one.passed_over.items()]
    more = [
        *([f"passed over: {', '.join(passed)}"] if passed else []),
        *([f"without a RECORD: {', '.join(one.without_record)}"] if one.without_record else []),
        *([f"not finished: {one.unfinished}"] if one.unfinished else []),
    ]
    return "; ".join(
        [f"{one.place}: {one.files} files of {one.packages} packages hashed, {one.bytes / 2**30:.2f} GiB", *more]
    )
