"""Python packages in the images that this tool has built, read from the engine's layers: no container is made for it."""

from __future__ import annotations

import re
from typing import Any

from provision.fact import Missing, NotKnown, fact, probe
from provision.facts.docker import Docker, Image, Images
from provision.facts.requirement import normal
from provision.host import Host, together
from provision.record import record

PREFIX = "/opt/venv"  # where templates/image puts the environment; tests/facts/test_drift.py holds the two together
LOCK_LABEL = "io.provision.lock"
_LAYERED = (
    "overlay2"  # the driver that says where an image's layers lie, and marks in them what is deleted as the kernel does
)


@record
class ImageEnvironment:
    image: str  # its first tag
    tags: tuple[str, ...]
    lock_sha256: str | None  # of the lock that its label names
    layers: tuple[str, ...]  # folders of this machine, the topmost first
    python: str | None  # "3.11"; None: there is no environment in it, or it could not be looked at
    packages: tuple[tuple[str, str], ...]  # (normalised name, version), sorted
    unread: str  # why it could not be looked at; empty where it was


@fact
class ImagePackages:
    images: tuple[ImageEnvironment, ...]  # those that have a tag, sorted by it; may be empty


@probe
def image_packages(host: Host, docker: Docker, images: Images) -> ImagePackages:
    """Names and versions of the packages in our images' environments.

    Sources: ``GET /images/ID/json`` on the engine's socket (GraphDriver), and the names of the metadata folders in the layers.
    """
    ours = [image for image in images.images if image.tags]
    found = together([lambda image=image: _look(host, docker, image) for image in ours])  # type: ignore[misc]
    made = [
        _environment(image, unread=one.reason) if isinstance(one, NotKnown) else one
        for image, one in zip(ours, found)  # noqa: B905 (strict: Python 3.10 has it, and the lengths are the same)
    ]
    return ImagePackages(images=tuple(sorted(made, key=lambda one: one.image)))


def _look(host: Host, docker: Docker, image: Image) -> ImageEnvironment:
    layers = _layers(host.get(docker.socket, f"/images/{image.id}/json"))
    pythons = [name for name in host.layered(layers, f"{PREFIX}/lib") if re.fullmatch(r"python3\.\d+", name)]
    if not pythons:
        return _environment(image, layers=layers)
    names = host.layered(layers, f"{PREFIX}/lib/{pythons[-1]}/site-packages")
    packages = {}
    for name in names:
        parts = re.fullmatch(r"(.+?)-(\d[^-]*)\.dist-info", name)
        if parts:
            packages[normal(parts[1])] = parts[2]
    return _environment(
        image,
        layers=layers,
        python=pythons[-1].removeprefix("python"),
        packages=tuple(sorted(packages.items())),
    )


def _environment(image: Image, **found: Any) -> ImageEnvironment:
    empty: dict[str, Any] = {"layers": (), "python": None, "packages": (), "unread": ""}
    lock = dict(image.labels).get(LOCK_LABEL)
    return ImageEnvironment(image=image.tags[0], tags=image.tags, lock_sha256=lock, **(empty | found))


def _layers(said: Any) -> tuple[str, ...]:
    driver = (said.get("GraphDriver") or {}) if isinstance(said, dict) else {}
    name, data = str(driver.get("Name") or ""), driver.get("Data") or {}
    if name != _LAYERED or "UpperDir" not in data:
        store = f"storage driver {name}" if name else "image store"
        raise Missing(f"an image's layers can be read where the engine uses overlay2, not with its {store}")
    lower = str(data.get("LowerDir") or "")
    return (str(data["UpperDir"]), *(lower.split(":") if lower else ()))
