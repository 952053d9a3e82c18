"""``[dependencies]`` of ``provision.toml``: the lock that a Python environment was made from, and what is refused of one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from provision import index
from provision.errors import Refused
from provision.facts import requirement
from provision.record import record


@record
class Pinned:
    """One line of a lock. ``version``: empty where the line names an address and no version; ``marker``: where it holds."""

    name: str
    version: str
    marker: str = ""


@record
class DependenciesSpec:
    """``lock``: a lock of ours by its name (``serve-cu130-py312``), a requirements file of pins, or a ``pylock.toml``.

    A file's path counts from the folder of provision.toml. ``environment``: the prefix that was made from it; empty means the
    environment in use. ``pins``: what the lock says; read from it, never written in provision.toml.
    """

    lock: str = ""
    environment: str = ""
    pins: tuple[Pinned, ...] = ()


_LOCKFILES = Path(__file__).parent / "lockfiles"
# "name==1.2", with extras, a marker and pip's options behind it; "===" too.
_PIN = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*"
    r"(?:===?\s*(?P<version>[A-Za-z0-9.!+_-]+)|@\s*\S+)\s*(?:;\s*(?P<marker>.+))?"
)
_OPTIONS = ("--hash", "--config-settings", "--global-option")
_OF_THE_FILE = re.compile(r"(-c|--constraint|-i|-f|--[a-z-]*(index|find-links|hashes|binary|host|pre|feature|links))\b")


def resolved(given: DependenciesSpec, beside: Path) -> DependenciesSpec:
    """The same with its pins. ``beside``: the folder of provision.toml. Raises ``Refused`` naming the key, file and line."""
    if given.pins:
        raise Refused("dependencies.pins: read from the lock; expected only lock and environment")
    if not given.lock:
        if given.environment:
            raise Refused("dependencies.lock: missing; expected the lock that dependencies.environment was made from")
        return given
    if given.environment and not re.fullmatch(r"(/[^/]+)+/?", given.environment):
        raise Refused(
            f"dependencies.environment: expected the absolute path of an environment, got {given.environment!r}"
        )
    path = _LOCKFILES / f"{given.lock}.txt"
    if not re.fullmatch(r"[a-z]+-[a-z0-9]+-py3\d+", given.lock) or not path.is_file():
        path = beside / given.lock
    try:
        said = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        known = ", ".join(sorted(p.stem for p in _LOCKFILES.glob("*.txt")))
        why = (error.strerror or str(error)).lower() if isinstance(error, OSError) else "it is no UTF-8 text"
        raise Refused(
            f"dependencies.lock: {given.lock}: {why}; expected a file beside provision.toml, or one of {known}"
        ) from None
    pins = tuple(_pylock(said, given.lock) if path.suffix == ".toml" else _requirements(said, given.lock))
    if not pins:
        raise Refused(f"dependencies.lock: {given.lock} names no package")
    return DependenciesSpec(lock=given.lock, environment=given.environment, pins=pins)


def _requirements(said: str, origin: str) -> Iterator[Pinned]:
    for number, line in _logical_lines(said):
        if _OF_THE_FILE.match(line):
            continue
        wanted = re.split(rf"\s(?={'|'.join(_OPTIONS)})", line, maxsplit=1)[0].strip()
        found = _PIN.fullmatch(wanted)
        if found is None:
            got = index.redact(line)[:60]  # in this order: cut first, what is left of a password looks like no address
            raise Refused(f"dependencies.lock: {origin}: line {number}: expected name==version, got {got!r}")
        place = f"{origin}: line {number}"
        yield _pinned(place, found["name"], found["version"] or "", (found["marker"] or "").strip())


def _logical_lines(said: str) -> Iterator[tuple[int, str]]:
    """Lines joined over ``\\`` without comments, each with the number of its first line."""
    start, joined = 0, ""
    for number, raw in enumerate([*said.splitlines(), ""], start=1):
        bare = re.sub(r"(^|\s)#.*", "", raw).strip()
        start = start or number
        joined = f"{joined} {bare.removesuffix(chr(92)).strip()}".strip()
        if not bare.endswith("\\"):
            if joined:
                yield start, joined
            start, joined = 0, ""


def _pylock(said: str, origin: str) -> Iterator[Pinned]:
    """PEP 751: ``packages`` with name, version (a source tree may have none) and marker."""
    import tomllib

    try:
        content: dict[str, Any] = tomllib.loads(said)
    except tomllib.TOMLDecodeError as error:
        raise Refused(f"dependencies.lock: {origin}: not TOML: {error}") from None
    packages = content.get("packages")
    if not isinstance(content.get("lock-version"), str) or not isinstance(packages, list):
        raise Refused(f"dependencies.lock: {origin}: expected lock-version and [[packages]] (PEP 751)")
    for place, one in enumerate(packages):
        values = [one.get(key, "") for key in ("name", "version", "marker")] if isinstance(one, dict) else [""]
        if not all(isinstance(value, str) for value in values) or not values[0]:
            raise Refused(f"dependencies.lock: {origin}: packages[{place}]: expected a name and a version")
        yield _pinned(f"{origin}: packages[{place}]", *values)


def _pinned(place: str, name: str, version: str, marker: str) -> Pinned:
    try:
        requirement.applies(marker, requirement.marker_environment("3.11", "x86_64"))
    except requirement.Unreadable as error:
        raise Refused(f"dependencies.lock: {place}: {name}: {error}") from None
    return Pinned(name=requirement.normal(name), version=version, marker=marker)
