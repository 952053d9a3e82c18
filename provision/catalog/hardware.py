"""What packages ask of the hardware that their metadata does not say: instructions, generations of GPUs, precisions."""

from __future__ import annotations

import functools
from typing import Literal

from provision.catalog import tables
from provision.catalog.version import older
from provision.record import record


@record
class Instructions:
    """Processor flags that a package's ordinary wheels use without asking; ``local``: what must stand in its version.

    ``device`` "cpu": only where it runs without a GPU.
    """

    package: str
    local: str
    device: Literal["", "cpu"] = ""
    flags: tuple[str, ...]
    source: str
    date: str


@record
class FloorRow:
    """Releases ``first`` and later (up to ``last``, empty: all) have no code for a GPU below compute capability ``least``."""

    package: str
    first: str
    last: str
    least: str
    source: str
    date: str


@record
class PrecisionRow:
    """Releases ``first`` to ``last`` of an engine run weights in ``precisions`` on GPUs from ``least`` on.

    From ``native`` on they also compute in them. ``package``: what must be there beside the engine. Empty: none, not known.
    """

    engine: str
    precisions: tuple[str, ...]
    first: str
    last: str
    least: str
    native: str
    package: str
    source: str
    date: str


@functools.cache
def instructions() -> tuple[Instructions, ...]:
    """Instructions that packages need of the processor."""
    return tables.read("instructions.toml", dict[str, tuple[Instructions, ...]])["package"]


@functools.cache
def floors() -> tuple[FloorRow, ...]:
    """The oldest GPU generation that packages have code for."""
    return tables.read("gpu_floors.toml", dict[str, tuple[FloorRow, ...]])["floor"]


@functools.cache
def precisions() -> tuple[PrecisionRow, ...]:
    """Which precisions engines run."""
    return tables.read("precisions.toml", dict[str, tuple[PrecisionRow, ...]])["row"]


def precision(engine: str, version: str, name: str) -> PrecisionRow | None:
    """What ``engine`` of this release asks for to run weights in ``name`` ("fp8", "gguf-q4_k_m"); None: not known."""
    kind = "gguf" if name.startswith("gguf") else name
    return next(
        (
            row
            for row in precisions()
            if row.engine == engine
            and kind in row.precisions
            and not older(version, row.first)
            and not (row.last and older(row.last, version))
        ),
        None,
    )
