"""The lock as ``pylock.NAME.toml`` (PEP 751), for uv, pip and whatever else reads that format.

It lists the wheels that the lock's target loads; the .txt beside it has the hash of every wheel of each version. A wheel
is named by ``path``, in a folder ``wheels`` beside the file: an index address would be ours, and of no use to others.
What ``lock --check`` needs to judge two locks without a network stands in the format's own place for it, ``tool``.
Source: https://packaging.python.org/en/latest/specifications/pylock-toml/ (2026-11-24).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from typing import Any

import tomllib

from provision.lock.package import Package, Wheel
from provision.lock.target import Target
from provision.record import record

FOLDER = "wheels"


@record
class Pylock:
    """The file as read. ``lock_sha256`` is that of the .txt it was made with."""

    packages: tuple[Package, ...]
    lock_sha256: str
    requires_python: str
    environments: tuple[str, ...]


class NotPylock(Exception):
    """The text is no lock of PEP 751, or none of ours. ``line`` counts from 1; 0 is the file as a whole."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.message, self.line = message, line


def filename(variant: str) -> str:
    """The file's name, as the format demands it (a variant's name has no dot)."""
    return f"pylock.{variant}.toml"


def requires_python(target: Target) -> str:
    return f"=={target.python}.*"


def environments(target: Target) -> tuple[str, ...]:
    """Where this lock may be installed, but for the C library, for which there is no marker."""
    return (f"sys_platform == 'linux' and platform_machine == '{target.machine}' and implementation_name == 'cpython'",)


def render(name: str, title: str, target: Target, lock_sha256: str, packages: Iterable[Package]) -> str:
    """The text of the file; sorted, so that the same packages give the same bytes."""
    lines = [
        f"# {title}",
        "# Made by a command, not by hand:",
        f"#     provision lock {name}",
        f"# {name}.txt in the form of PEP 751: the wheels of it that this target loads, in a folder `{FOLDER}` beside this file.",
        'lock-version = "1.0"',
        f"environments = {_array(environments(target))}",
        f"requires-python = {_text(requires_python(target))}",
        'created-by = "provision"',
    ]
    for package in sorted(packages, key=lambda each: each.name):
        lines += ["", "[[packages]]", f"name = {_text(package.name)}", f"version = {_text(package.version)}"]
        if package.dependencies:
            lines.append(f"dependencies = [{', '.join(f'{{name = {_text(each)}}}' for each in package.dependencies)}]")
        lines += ["wheels = [", *(f"    {_wheel(each)}," for each in package.wheels), "]"]
        if package.extras:
            lines.append(f"tool.provision.extras = {_array(package.extras)}")
        lines.append(f"tool.provision.pythons = {_array(package.pythons)}")
        if package.requires:
            lines += ["tool.provision.requires = [", *(f"    {_text(each)}," for each in package.requires), "]"]
    lines += ["", "[tool.provision]", f"lock-sha256 = {_text(lock_sha256)}"]
    return "\n".join(lines) + "\n"


@functools.cache
def parse(text: str) -> Pylock:
    """Read the file, by the specification first. Raises ``NotPylock`` with the line."""
    from packaging.pylock import Pylock as Specified
    from packaging.pylock import PylockUnsupportedVersionError, PylockValidationError

    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise NotPylock(f"no TOML: {error}") from None
    lines = _Lines(text)
    try:
        Specified.from_dict(table)
        own = table["tool"]["provision"]
        return Pylock(
            packages=tuple(_package(row, lines) for row in table["packages"]),
            lock_sha256=str(own["lock-sha256"]),
            requires_python=str(table["requires-python"]),
            environments=tuple(map(str, table["environments"])),
        )
    except (PylockValidationError, PylockUnsupportedVersionError) as error:
        raise NotPylock(f"not as PEP 751 has it: {error}") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise NotPylock(f"what provision writes is not there: {error}") from None


class _Lines:
    """Where things stand in the text: each is looked for below the one before it."""

    def __init__(self, text: str) -> None:
        self._lines, self._at = text.splitlines(), 0

    def of(self, *words: str) -> int:
        for place in range(self._at, len(self._lines)):
            if all(word in self._lines[place] for word in words):
                self._at = place
                return place + 1
        return 0


def _package(row: dict[str, Any], lines: _Lines) -> Package:
    line = lines.of("name", _text(row["name"]))
    own = row["tool"]["provision"]
    return Package(
        name=row["name"],
        version=row["version"],
        wheels=tuple(
            Wheel(
                filename=each["path"].rpartition("/")[2],
                sha256=str(each["hashes"].get("sha256", "")),
                size_bytes=each.get("size", 0),
                line=lines.of(each["path"]),
            )
            for each in row.get("wheels", ())
        ),
        pythons=tuple(own["pythons"]),
        requires=tuple(own.get("requires", ())),
        extras=tuple(own.get("extras", ())),
        dependencies=tuple(each["name"] for each in row.get("dependencies", ())),
        line=line,
    )


def _wheel(wheel: Wheel) -> str:
    size = f"size = {wheel.size_bytes}, " if wheel.size_bytes else ""
    return f"{{path = {_text(f'{FOLDER}/{wheel.filename}')}, {size}hashes = {{sha256 = {_text(wheel.sha256)}}}}}"


def _array(values: Iterable[str]) -> str:
    return f"[{', '.join(map(_text, values))}]"


def _text(value: str) -> str:
    """A TOML basic string: JSON's escapes are some of its own."""
    return json.dumps(value)
