"""NVIDIA GPUs by name (``gpus.toml``): what is known of a model whose driver cannot be asked, or does not say."""

from __future__ import annotations

import functools
import re

from provision.catalog import tables
from provision.record import record


@record
class GpuModel:
    """One model. None: no source says it."""

    name: str  # the words of the driver's name that tell it apart: "RTX 4090"
    compute_capability: str  # "8.9"
    memory_bytes: int | None = None  # as sold
    memory_bandwidth: int | None = None  # bytes a second, peak
    nvlink: bool | None = None
    p2p: bool | None = None  # False: no peer access over PCIe with the vendor's driver
    ecc: bool | None = None
    tdp: int | None = None  # watts
    source: str
    date: str


@functools.cache
def models() -> dict[tuple[str, ...], GpuModel]:
    """The words of every model's name, in lower case, to its row."""
    rows = tables.read("gpus.toml", dict[str, tuple[GpuModel, ...]])["gpu"]
    return {_words(row.name): row for row in rows}


def find(name: str) -> GpuModel | None:
    """The row of "NVIDIA GeForce RTX 4090"; None for a name that holds no model of the table."""
    words = _words(name[:200])
    held = [m for m in models() if any(words[at : at + len(m)] == m for at in range(len(words)))]
    return models()[max(held, key=len)] if held else None


def compute_capability(name: str) -> str | None:
    """``8.9`` for "NVIDIA GeForce RTX 4090"; None for a name that holds no model of the table.

    A Quadro RTX 6000 is none of them: "RTX 6000 Ada" has a word more.
    """
    found = find(name)
    return found.compute_capability if found else None


def _words(name: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[a-z0-9]+", name.lower()))
