"""Compute capability by a GPU's name, for texts that name a card and nothing more (``gpus.toml``)."""

from __future__ import annotations

import dataclasses
import functools
import re

from provision.catalog import tables


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Models:
    """Models of one compute capability, each by the words of its name that tell it apart."""

    compute_capability: str
    models: tuple[str, ...]
    source: str
    date: str


@functools.cache
def models() -> dict[tuple[str, ...], str]:
    """The words of a model, in lower case, to its compute capability."""
    rows = tables.read("gpus.toml", dict[str, tuple[Models, ...]])["gpu"]
    return {tuple(model.lower().split()): row.compute_capability for row in rows for model in row.models}


def compute_capability(name: str) -> str | None:
    """``8.9`` for "NVIDIA GeForce RTX 4090"; None for a name that holds no model of the table.

    A Quadro RTX 6000 is none of them: "RTX 6000 Ada" has a word more.
    """
    words = tuple(re.findall(r"[a-z0-9]+", name.lower()[:200]))
    held = [
        (len(model), capability)
        for model, capability in models().items()
        if any(words[at : at + len(model)] == model for at in range(len(words)))
    ]
    return max(held)[1] if held else None
