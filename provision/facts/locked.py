"""Every package of the one environment that provision.toml names a lock for, from metadata: nothing is imported."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator
from typing import Literal

from provision.fact import Absent, fact, probe
from provision.facts.packages import environment_in_use, metadata_head, metadata_places, user_base
from provision.facts.python import Pythons
from provision.facts.reading import text
from provision.facts.requirement import normal
from provision.host import Host, or_none
from provision.record import record

Place = Literal["own", "inherited", "user"]
DISTRIBUTION = "distribution"  # the installer of what lies among the system's own packages
_SYSTEM = "/usr/lib/python3/dist-packages"


@record
class InstalledPackage:
    name: str  # normalised
    version: str
    place: Place  # "user": pip install --user; "own"; "inherited": the system's, seen from a virtual environment
    installer: str  # "pip", "uv", "conda", "distribution"; empty: nothing says
    local: bool  # from a folder of this machine, editable or not: the project itself


@fact
class LockedEnvironment:
    """Absent where provision.toml names no lock for a Python environment."""

    prefix: str
    venv: bool  # its own packages come before the user's; in any other environment the user's come first (Python's site.py)
    python: str | None  # "3.11.2", or as far as it is known; None: there is no Python environment
    packages: tuple[InstalledPackage, ...]  # sorted by name and place; one that nothing shadows, and what shadows it


@probe
def locked_environment(host: Host, pythons: Pythons) -> LockedEnvironment:
    """Names and versions of all packages that the environment can import, the user's own and inherited ones included.

    Sources: ``METADATA`` (Name, Version), ``INSTALLER`` and ``direct_url.json`` in every ``*.dist-info`` of its package
    folders, ``PKG-INFO`` in every ``*.egg-info`` (or that file itself), ``pyvenv.cfg``; which environment: provision.toml,
    else the one in use.
    """
    named = host.asked("environment")
    if not named:
        raise Absent("provision.toml names no lock for a Python environment ([dependencies] lock)")
    prefix = named[0].rstrip("/") or environment_in_use(host, pythons)
    settings = or_none(host.read, f"{prefix}/pyvenv.cfg") or ""
    python = _python(host, prefix, settings)
    if python is None:
        return LockedEnvironment(prefix=prefix, venv=bool(settings), python=None, packages=())
    minor = ".".join(python.split(".")[:2])
    found: list[InstalledPackage] = []
    for place, folder in _folders(host, prefix, minor, settings):
        for path in metadata_places(host, folder):
            one = _package(host, path, place)
            if one is not None and all((one.name, one.place) != (f.name, f.place) for f in found):
                found.append(one)
    return LockedEnvironment(
        prefix=prefix,
        venv=bool(settings),
        python=python,
        packages=tuple(
            sorted(found, key=lambda one: (one.name, one.place))
        ),  # of two in one place the first on sys.path
    )


def _python(host: Host, prefix: str, settings: str) -> str | None:
    said = re.search(r"^version(?:_info)?\s*=\s*(3\.\d+(?:\.\d+)?)", settings, re.MULTILINE)
    if said:
        return said[1]
    for path in host.glob(f"{prefix}/conda-meta/python-3*.json"):
        release = re.match(r"python-(\d+\.\d+\.\d+)-", posixpath.basename(path))
        if release:
            return release[1]
    program = re.fullmatch(r"python(3\.\d+)", posixpath.basename(host.real(f"{prefix}/bin/python3")))
    if program:
        return program[1]
    folders = host.glob(f"{prefix}/lib/python3.*/site-packages")
    return posixpath.basename(posixpath.dirname(folders[-1])).removeprefix("python") if folders else None


def _folders(host: Host, prefix: str, minor: str, settings: str) -> Iterator[tuple[Place, str]]:
    """Every package folder that it imports from."""
    lets_in = re.search(r"^include-system-site-packages\s*=\s*true", settings, re.MULTILINE | re.IGNORECASE)
    isolated = bool(settings) and lets_in is None
    if not isolated and not or_none(host.env, "PYTHONNOUSERSITE"):
        yield "user", f"{user_base(host)}/lib/python{minor}/site-packages"
    yield from (("own", folder) for folder in _of(prefix, minor))
    home = re.search(r"^home\s*=\s*(\S+)", settings, re.MULTILINE)
    if home and not isolated:
        base = posixpath.dirname(posixpath.dirname(host.real(f"{home[1]}/python{minor}")))
        yield from (("inherited", folder) for folder in _of(base, minor))


def _of(prefix: str, minor: str) -> list[str]:
    folders = [
        f"{prefix}/{lib}/python{minor}/{name}"
        for lib in ("lib", "lib64")
        for name in ("site-packages", "dist-packages")
    ]
    if prefix == "/usr":  # Debian: pip installs under /usr/local, apt under python3, both for the same Python
        folders = [f"/usr/local/lib/python{minor}/dist-packages", *folders, _SYSTEM]
    return folders


def _package(host: Host, folder: str, place: Place) -> InstalledPackage | None:
    head = metadata_head(host, folder)
    name = re.search(r"^Name: *(\S+)", head, re.MULTILINE)
    version = re.search(r"^Version: *(\S+)", head, re.MULTILINE)
    if name is None or version is None:  # what an interrupted installation left (DEP060): nothing can be imported by it
        return None
    installer = text(host, f"{folder}/INSTALLER") or ""
    return InstalledPackage(
        name=normal(name[1]),
        version=version[1],
        place=place,
        installer=DISTRIBUTION if _is_the_distributions(folder, installer) else installer,
        local=_is_local(text(host, f"{folder}/direct_url.json")),
    )


def _is_the_distributions(folder: str, installer: str) -> bool:
    """Debian's own have a folder to themselves. RPM systems write ``rpm`` as the installer, and nothing into an *.egg-info.

    On those pip installs below /usr/local.
    """
    if folder.startswith(f"{_SYSTEM}/"):
        return True
    return folder.startswith(("/usr/lib/", "/usr/lib64/")) and (installer == "rpm" or folder.endswith(".egg-info"))


def _is_local(direct_url: str | None) -> bool:
    """PEP 610: a package that was installed from a folder says so; that folder's own lock is the one it stands beside."""
    try:
        said = json.loads(direct_url or "{}")
    except ValueError:
        return False
    return isinstance(said, dict) and "dir_info" in said
