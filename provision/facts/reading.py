"""Small files of /proc and /sys as numbers and words; what vanished or holds garbage is None, never a crash. No fact."""

from __future__ import annotations

import re

from provision.fact import NotKnown
from provision.host import Host, or_none


def text(host: Host, path: str) -> str | None:
    """The stripped content; None where it cannot be read, for whatever reason."""
    said = or_none(host.read, path, reasons=NotKnown)
    return None if said is None else said.strip()


def whole(host: Host, path: str) -> int | None:
    """The first whole number in a file; None where there is none: "max", empty, unreadable."""
    found = re.match(r"-?\d{1,19}\b", text(host, path) or "")
    return int(found[0]) if found else None


def chosen(host: Host, path: str) -> str | None:
    """The word in brackets of a list of choices: "always [madvise] never" as "madvise"; a lone word is the choice."""
    said = text(host, path) or ""
    found = re.search(r"\[([\w-]+)\]", said)
    return found[1] if found else (said if re.fullmatch(r"[\w-]+", said) else None)
