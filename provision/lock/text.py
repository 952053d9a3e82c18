"""The text of a lockfile: rendered, and read back strictly.

Both resolvers' answers pass through this one renderer, so that equal pins give equal bytes, and no address,
path or option of a resolver can reach the file.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from provision.errors import UsageError
from provision.record import record

_PIN = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?P<sign>===?)(?P<version>[A-Za-z0-9.!+_-]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_INPUT = re.compile(r"# Input: \S+ sha256=([0-9a-f]{64})")


@record
class Pin:
    """One locked package: its normalised name, its version, its wheels' SHA-256 and who asked for it.

    ``exact``: ``===``, which admits no build that only the local part of its version tells apart (2.13.0+cpu for 2.13.0).
    """

    name: str
    version: str
    sha256: tuple[str, ...] = ()
    via: tuple[str, ...] = ()
    note: str = ""
    line: int = 0
    exact: bool = False


@record
class Lock:
    """A lockfile as read. ``strays`` are the lines that are no pin with hashes: line number and text."""

    pins: tuple[Pin, ...]
    input_sha256: str
    strays: tuple[tuple[int, str], ...] = ()


def read(path: Path) -> str:
    """The text of a file beside a lock, or of the lock. Raises ``UsageError`` where it cannot be read as text."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UsageError(
            f"{path}: it is no UTF-8 text", "restore it from git, or remove it and run `provision lock`"
        ) from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None


def digest(text: str) -> str:
    """SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def render(name: str, title: str, input_text: str, pins: Iterable[Pin]) -> str:
    """The text of ``NAME.txt``; sorted, so that the same pins give the same bytes."""
    lines = [
        f"# {title}",
        "# Made by a command, not by hand:",
        f"#     provision lock {name}",
        f"# Input: {name}.in sha256={digest(input_text)}",
        "# Hashes: every wheel of the version, on every index and find-links folder that was configured when this was",
        "# made. A wheel from anywhere else is refused: then make the lock again with the indexes that are to be used.",
    ]
    for pin in sorted(pins, key=lambda each: each.name):
        if pin.note:
            lines.append(f"# {pin.note}")
        hashes = sorted(set(pin.sha256))
        lines.append(f"{pin.name}{'===' if pin.exact else '=='}{pin.version} \\")
        lines += [f"    --hash=sha256:{each} \\" for each in hashes[:-1]]
        lines.append(f"    --hash=sha256:{hashes[-1]}")
        if pin.via:
            lines.append(f"    # via {', '.join(sorted(pin.via))}")
    return "\n".join(lines) + "\n"


@functools.lru_cache(maxsize=64)
def parse(text: str) -> Lock:
    """Read a lockfile, or any requirements file made of pins; what is no pin with hashes comes back in ``strays``.

    Remembered, as a check reads each lock several times: for itself, beside those that must agree, for the indexes.
    """
    found = _INPUT.search(text)
    pins: list[Pin] = []
    strays: list[tuple[int, str]] = []
    for number, logical in _logical_lines(text):
        head, *options = logical.split()
        pin = _PIN.fullmatch(head)
        hashes = [_HASH.fullmatch(option) for option in options]
        if pin is None or not all(hashes):
            strays.append((number, logical))
            continue
        digests = tuple(match[1] for match in hashes if match)
        exact = pin["sign"] == "==="
        pins.append(Pin(name=_normal(pin["name"]), version=pin["version"], sha256=digests, line=number, exact=exact))
    return Lock(pins=tuple(pins), input_sha256=found[1] if found else "", strays=tuple(strays))


def _logical_lines(text: str) -> Iterable[tuple[int, str]]:
    """Lines joined over ``\\`` without comments, each with the number of its first line."""
    start, parts = 0, [""]
    for number, line in enumerate(text.splitlines(), 1):
        bare = re.sub(r"(^|\s)#.*", "", line).strip()
        start = start or number
        parts.append(bare.removesuffix("\\").strip())
        if bare.endswith("\\"):
            continue
        joined = " ".join(part for part in parts if part)
        if joined:
            yield start, joined
        start, parts = 0, [""]
    if joined := " ".join(part for part in parts if part):
        yield start, joined


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
