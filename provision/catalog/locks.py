"""The locks that come with this tool, by name: which version of which package."""

from __future__ import annotations

import functools
from pathlib import Path

_LOCKFILES = Path(__file__).parents[1] / "lockfiles"


@functools.cache
def pins(name: str) -> dict[str, str]:
    """Normalised name to version of every line of ``lockfiles/<name>.txt``."""
    from provision.payload.smoke.lockfile import pins as parsed  # only for who asks: it brings importlib.metadata

    return parsed((_LOCKFILES / f"{name}.txt").read_text(encoding="utf-8"))
