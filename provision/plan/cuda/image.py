"""Which Python and which C library the container has: the image's, not the host's."""

from __future__ import annotations

import functools
from typing import Any

from provision import catalog
from provision.fact import Snapshot
from provision.facts.system import System
from provision.record import record
from provision.spec import ImageSpec


@record
class Image:
    """A base image there can be. ``what``: how people call it."""

    python: str
    glibc: str
    what: str


@functools.cache
def _table() -> dict[str, Any]:
    return catalog.read("base_images.toml")


def possible(spec: ImageSpec, snapshot: Snapshot) -> tuple[Image, ...]:
    """The base images that ``[image]`` allows, the one that is taken by default first.

    ``bootstrap``: what the host's own Debian release has. By digest: what provision.toml says of it, else what the first
    catalogued image has. ``auto``: those of the catalogue, or of them the one with ``image.python``.
    """
    table = _table()
    listed = tuple(
        Image(python=row["python"], glibc=row["glibc"], what=f"{row['name']}:{row['tag']}") for row in table["image"]
    )
    if spec.base == "bootstrap":
        system = snapshot.get(System)
        suite = system.os_codename if isinstance(system, System) else None
        made = (
            Image(python=row["python"], glibc=row["glibc"], what=f"the base made from this host's Debian ({suite})")
            for row in table["suite"]
            if row["name"] == suite
        )
        return tuple(image for image in made if spec.python in ("", image.python))
    if spec.base != "auto":
        return (Image(python=spec.python or listed[0].python, glibc=spec.glibc or listed[0].glibc, what="image.base"),)
    return tuple(image for image in listed if spec.python in ("", image.python))
