"""The manifest: what a bundle is for, and every other member's path, size and hash.

It has exactly one spelling (``dumps``), so that two readers cannot take the same bytes for two things.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, fields
from typing import Any

from . import layout
from .errors import Refused, shown

SCHEMA = 1
NAME, SIGNATURE_NAME = "manifest.json", "manifest.json.sig"
MAX_BYTES = 32 << 20  # 150 bytes a member: two hundred thousand files
MAX_SIGNATURE_BYTES = 64 << 10  # RSA with 16384 bits takes 6 KB
MAX_MEMBER_BYTES = 1 << 50
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class MadeFor:
    """The machine that the bundle fits. ``architecture`` as ``uname -m`` says it; ``glibc``: this or newer."""

    architecture: str
    debian: str  # the release's code name: bookworm
    glibc: str
    python: str  # of the machine's own python3: 3.11
    lock: str  # smoke-cpu-py311


@dataclass(frozen=True)
class Asked:
    """What its maker asked for. ``packages``: Debian packages; ``model``: the folder's name, or empty."""

    packages: tuple[str, ...]
    model: str
    spec: bool
    facts: bool


@dataclass(frozen=True)
class Member:
    """One file of the bundle. ``path`` is relative, with ``/``; unpacked files have mode 0644."""

    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Manifest:
    """A bundle's table of contents; ``members`` in the order of their paths' bytes."""

    tool_version: str
    made_for: MadeFor
    asked: Asked
    members: tuple[Member, ...]

    @property
    def unpacked_bytes(self) -> int:
        return sum(member.size_bytes for member in self.members)


def dumps(manifest: Manifest) -> bytes:
    """The manifest's bytes: sorted keys, one member a line, so that two bundles can be compared with ``diff``."""
    members = ",\n".join(json.dumps(asdict(m), sort_keys=True, ensure_ascii=False) for m in manifest.members)
    head = {
        "schema": SCHEMA,
        "tool_version": manifest.tool_version,
        "made_for": asdict(manifest.made_for),
        "asked": {**asdict(manifest.asked), "packages": list(manifest.asked.packages)},
    }
    lines = [f"{json.dumps(key)}: {json.dumps(head[key], sort_keys=True, ensure_ascii=False)}" for key in sorted(head)]
    return ("{\n" + ",\n".join(lines) + ',\n"members": [\n' + members + "\n]}\n").encode()


def loads(data: bytes) -> Manifest:
    """The manifest of those bytes. Raises ``Refused`` for any that ``dumps`` would not have written."""
    try:
        content = json.loads(data.decode())
    except (ValueError, RecursionError):
        raise Refused(f"{NAME}: it is no JSON") from None
    if not isinstance(content, dict):
        raise Refused(f"{NAME}: expected a table")
    if content.get("schema") != SCHEMA:
        made_by = shown(str(content.get("tool_version")))
        raise Refused(
            f"{NAME}: schema {shown(str(content.get('schema')))}, which this program does not read (it reads {SCHEMA}); "
            f"the bundle was made by provision {made_by}: use the .pyz that was written beside it"
        )
    members = content.get("members")
    if not isinstance(members, list):
        raise Refused(f"{NAME}: members: expected a list")
    found = Manifest(
        tool_version=_text(content.get("tool_version"), "tool_version"),
        made_for=_record(MadeFor, content.get("made_for"), "made_for"),
        asked=_record(Asked, content.get("asked"), "asked"),
        members=tuple(_record(Member, one, f"members[{place}]") for place, one in enumerate(members)),
    )
    _check_members(found.members)
    if dumps(found) != data:
        raise Refused(f"{NAME}: it is not spelt as this tool spells it")
    return found


def unsafe(path: str) -> str:
    """Why a path may not be unpacked; empty where it may."""
    if path.startswith("/"):
        return "an absolute path"
    parts = path.split("/")
    if ".." in parts:
        return "it leads out of the folder"
    if "" in parts or "." in parts:
        return "a path with an empty part"
    if not path.isprintable() or "\\" in path:
        return "a character that no path of a bundle has"
    try:
        if any(len(part.encode()) > 255 for part in parts) or len(path.encode()) > 1024:
            return "too long"
    except UnicodeEncodeError:
        return "no text"
    return ""


def order(path: str) -> bytes:
    """Members are sorted by this."""
    return path.encode()


def total_bytes(manifest: Manifest, manifest_bytes: int, signature_bytes: int) -> int:
    """How long the bundle's file must be."""
    head = layout.span(NAME, manifest_bytes) + layout.span(SIGNATURE_NAME, signature_bytes)
    return head + sum(layout.span(m.path, m.size_bytes) for m in manifest.members) + len(layout.END)


def _check_members(members: tuple[Member, ...]) -> None:
    folders = {NAME, SIGNATURE_NAME}  # names that no member may have
    before = b""
    for member in members:
        if why := unsafe(member.path):
            raise Refused(f"{shown(member.path)}: refused by its path: {why}")
        if not _SHA256.fullmatch(member.sha256) or not 0 <= member.size_bytes <= MAX_MEMBER_BYTES:
            raise Refused(f"{shown(member.path)}: {NAME} has no usable size or sha256 for it")
        if order(member.path) <= before:
            raise Refused(f"{shown(member.path)}: {NAME} has it twice, or not in order")
        before = order(member.path)
        parts = member.path.split("/")
        if len(parts) > 1 and parts[0] in (NAME, SIGNATURE_NAME):
            raise Refused(f"{shown(member.path)}: refused by its path: {parts[0]} is a file")
        folders.update("/".join(parts[:end]) for end in range(1, len(parts)))
    for member in members:
        if member.path in folders:
            raise Refused(f"{shown(member.path)}: {NAME} has it as a file and as something else")


def _record(shape: Any, value: Any, where: str) -> Any:
    wanted = {field.name: field.type for field in fields(shape)}
    if not isinstance(value, dict) or value.keys() != wanted.keys():
        raise Refused(f"{NAME}: {where}: expected a table with {', '.join(wanted)}")
    return shape(**{name: _READERS[str(kind)](value[name], f"{where}.{name}") for name, kind in wanted.items()})


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise Refused(f"{NAME}: {where}: expected text")
    return value


def _texts(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise Refused(f"{NAME}: {where}: expected a list")
    return tuple(_text(one, where) for one in value)


def _number(value: Any, where: str) -> int:
    if type(value) is not int:
        raise Refused(f"{NAME}: {where}: expected a number")
    return value


def _truth(value: Any, where: str) -> bool:
    if type(value) is not bool:
        raise Refused(f"{NAME}: {where}: expected true or false")
    return value


_READERS = {"str": _text, "int": _number, "bool": _truth, "tuple[str, ...]": _texts}
