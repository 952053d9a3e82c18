"""What a lock knows of one pinned version beside its hashes: the wheels that load, for which Pythons, what it requires.

The answer of a resolver does not say this, so it is read from the pages and from METADATA. It goes into the PEP 751
form of the lock, so that ``--check`` can judge from files alone.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING

from provision.errors import ChangeError
from provision.lock import metadata
from provision.lock.target import Target
from provision.record import record

if TYPE_CHECKING:
    from packaging.requirements import Requirement

    from provision.lock.listing import PackageFile
    from provision.lock.pages import Pages

PYTHONS = ("3.11", "3.12", "3.13", "3.14")  # those that variants are made for


@record
class Wheel:
    """One file of a version. ``size_bytes`` is 0 where no place says it; ``line`` counts from 1 in the lock read."""

    filename: str
    sha256: str
    size_bytes: int = 0
    line: int = 0


@record
class Package:
    """One version in one lock.

    ``wheels``: those that the lock's target loads, the best first. ``pythons``: those of ``PYTHONS`` for which the version
    has a wheel that loads on the target's machine and C library. ``requires``: its Requires-Dist lines, sorted; of those
    behind an extra only the ones of ``extras``, which this lock asks for. ``dependencies``: the locked packages it asked for.
    """

    name: str
    version: str
    wheels: tuple[Wheel, ...]
    pythons: tuple[str, ...]
    requires: tuple[str, ...]
    extras: tuple[str, ...] = ()
    dependencies: tuple[str, ...] = ()
    line: int = 0


def look(pages: Pages, name: str, version: str, target: Target) -> Package:
    """One version as the configured places have it. Raises ``ChangeError`` where no wheel of it loads on the target."""
    offered = pages.wheels(name, version)
    loads = sorted(
        (rank, place) for place, each in enumerate(offered) if (rank := target.rank(each.filename)) is not None
    )
    if not loads:
        raise ChangeError(
            f"{name} {version} has no wheel that CPython {target.python} loads with glibc {target.glibc} on {target.machine}"
        )
    best = offered[loads[0][1]]
    requires, pythons = pages.once(("metadata", best.address), lambda: _required(pages, best))
    return Package(
        name=name,
        version=version,
        wheels=_wheels(pages, [offered[place] for _, place in loads]),
        pythons=tuple(
            each
            for each in PYTHONS
            if each in pythons and _loads_for(each, target, [file.filename for file in offered])
        ),
        requires=requires,
    )


def active(requires: Iterable[str], extras: Iterable[str], target: Target) -> tuple[Requirement, ...]:
    """The requirements that hold on ``target`` when ``extras`` of the package are asked for."""
    return _active(tuple(requires), frozenset(extras), target)


@functools.cache
def parsed(line: str) -> Requirement:
    """One Requires-Dist line. Raises ``packaging.requirements.InvalidRequirement``."""
    from packaging.requirements import Requirement

    return Requirement(line)


@functools.cache
def meets(requirement: Requirement, version: str) -> bool:
    return requirement.specifier.contains(version, prereleases=True)


@functools.cache
def _active(requires: tuple[str, ...], extras: frozenset[str], target: Target) -> tuple[Requirement, ...]:
    environment = target.environment()
    names = extras or {""}
    found = []
    for line in requires:
        wanted = parsed(line)
        if wanted.marker is None or any(wanted.marker.evaluate({**environment, "extra": each}) for each in names):
            found.append(wanted)
    return tuple(found)


def _required(pages: Pages, wheel: PackageFile) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The Requires-Dist lines, and the Pythons that Requires-Python admits."""
    from packaging.requirements import InvalidRequirement
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    headers = metadata.of(pages, wheel)
    try:
        lines = tuple(sorted({str(parsed(str(each))) for each in headers.get_all("Requires-Dist") or ()}))
        admitted = SpecifierSet(str(headers.get("Requires-Python") or ""))
    except (InvalidRequirement, InvalidSpecifier) as error:
        raise ChangeError(f"{wheel.filename}: its METADATA cannot be read: {error}") from None
    return lines, tuple(each for each in PYTHONS if admitted.contains(f"{each}.0", prereleases=True))


def _loads_for(python: str, target: Target, filenames: Iterable[str]) -> bool:
    there = Target(python=python, glibc=target.glibc, machine=target.machine)
    return any(there.rank(each) is not None for each in filenames)


def _wheels(pages: Pages, files: Iterable[PackageFile]) -> tuple[Wheel, ...]:
    """One entry a file name: an installer that finds two cannot know which of the hashes lies in its folder.

    Where two places have other bytes under one name, the first place's stand; the .txt has the hashes of both.
    """
    found: dict[str, Wheel] = {}
    for each in files:
        sha256 = pages.sha256(each)
        known = found.setdefault(
            each.filename, Wheel(filename=each.filename, sha256=sha256, size_bytes=each.size_bytes)
        )
        if known.sha256 == sha256 and not known.size_bytes:
            found[each.filename] = Wheel(filename=each.filename, sha256=sha256, size_bytes=each.size_bytes)
    return tuple(found.values())


def normal(name: str) -> str:
    """The normalised form of a package's name (PEP 503)."""
    from packaging.utils import canonicalize_name

    return canonicalize_name(name)
