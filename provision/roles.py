"""The roles of ``playbooks/site.yml``, and which of their tags run when one is asked for."""

from __future__ import annotations

from provision import codec
from provision.errors import UsageError

NAMES = ("storage", "audit", "fragmentation", "isolation", "dependencies")
DISKS = "disks"  # the part of storage that makes the volume
ALL = (*NAMES, DISKS)
# The state folder and the evidence go before every change, whatever else was asked for.
ALWAYS = ("storage", "audit")


def tags(only: str | None) -> tuple[str, ...]:
    """Every tag; with ``only``, that role's and those that come before any change. Raises ``UsageError`` for no role."""
    if only is None:
        return ALL
    if only not in NAMES:
        raise UsageError(
            f"--only {only}: no role of that name{codec.nearest(only, NAMES)}; there are {', '.join(NAMES)}"
        )
    return tuple(sorted({*ALWAYS, only, *((DISKS,) if only == "storage" else ())}))
