"""``storage.toml`` as records: limits and loader switches behind the advice of ``provision disk``."""

from __future__ import annotations

import functools
from typing import Literal

from provision.catalog import tables
from provision.record import record


@record
class StorageLimit:
    """One limit behind the advice of ``provision disk``: a share, a factor, or in the unit that its name ends in."""

    value: float
    why: str
    source: str
    date: str


@record
class LoaderSwitch:
    """How an engine is told to read weights differently, and since which release (empty: as far back as was looked)."""

    engine: str
    first: str
    kind: Literal["eager", "stream", "prefetch", "automatic"]
    switch: str
    filesystems: tuple[str, ...] = ()
    source: str
    date: str


@record
class Storage:
    """``storage.toml``."""

    limit: dict[str, StorageLimit]
    loader: tuple[LoaderSwitch, ...]


@functools.cache
def table() -> Storage:
    """How weights are read well: limits, and the engines' switches."""
    return tables.read("storage.toml", Storage)
