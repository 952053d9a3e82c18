"""Which of the locked torch builds the cards and the driver can run, with the chain of reasons. Pure: tables only."""

from __future__ import annotations

from provision import catalog
from provision.catalog import builds, tables
from provision.catalog.version import numbers, older
from provision.fact import Missing
from provision.record import record

# What the image carries: Debian 12's Python 3.11 and glibc 2.36, as the catalogue's python:3.11-slim-bookworm does.
IMAGE_PYTHON = "3.11"
IMAGE_GLIBC = "2.36"


@record
class Build:
    """One row of accelerators.toml; ``cuda`` as "12.8"."""

    name: str
    cuda: str
    torch: str
    minimum_driver: str
    architectures: tuple[str, ...]


def known() -> tuple[Build, ...]:
    """Every build there is a lock for, the newest torch first."""
    rows = catalog.read("accelerators.toml")
    found = (
        Build(
            name=name,
            cuda=f"{name[2:-1]}.{name[-1]}",
            torch=row["torch"],
            minimum_driver=row["minimum_driver"],
            architectures=tuple(row["architectures"]),
        )
        for name, row in rows.items()
    )
    return tuple(sorted(found, key=lambda build: numbers(build.torch), reverse=True))


def choose(
    capabilities: tuple[str, ...], driver: str | None, python: str = IMAGE_PYTHON, glibc: str = IMAGE_GLIBC
) -> tuple[Build, tuple[str, ...]]:
    """The newest build with code for every card (compute capabilities, "9.0") that ``driver`` runs, and the reasons.

    ``driver`` None: not known, then the newest for the cards. Where the driver is too old for every build with code for
    the cards, the one that the least new driver runs, and that driver as the way out. ``python`` and ``glibc`` are the
    image's. Raises ``Missing`` with a way out where no build loads there or none has code for all cards: a lock that
    cannot work is no plan.
    """
    reasons = [_need(each) for each in capabilities]
    outside = {build: why for build in known() if (why := _unloadable(build, python, glibc))}
    if len(outside) == len(known()):
        raise Missing(f"no lock loads in the image: {'; '.join(outside.values())}; set image.base to a newer one")
    loadable = tuple(build for build in known() if build not in outside)
    covering = tuple(b for b in loadable if all(builds.covers(b.architectures, each) for each in capabilities))
    if not covering:
        raise Missing(f"no lock has code for {_cards(capabilities)}: {_way_out(capabilities, driver)}")
    reasons += [f"{build.name} is out: {why}" for build, why in outside.items()]
    reasons += [
        f"{build.name} is out: torch {build.torch} has no code for {_cards(capabilities)}"
        for build in loadable
        if build not in covering
    ]
    torches = ", ".join(build.torch for build in covering)
    reasons.append(f"the image's Python {python} and glibc {glibc} load the wheels of torch {torches}")
    if driver is None:
        return covering[0], (*reasons, f"{covering[0].name} is the newest left; which driver there is, is not known")
    reasons.append(_gives(driver))
    for build in covering:
        if builds.runs(driver, build.cuda):
            return build, (*reasons, *_newest(driver, build))
        reasons.append(f"{build.name} is out: CUDA {build.cuda} needs driver {build.minimum_driver} or newer")
    nearest = min(covering, key=lambda build: numbers(build.minimum_driver))  # the first of equals: the newest torch
    return nearest, (
        *reasons,
        f"driver {driver} runs no lock for this machine; the nearest way out: driver {nearest.minimum_driver} or newer",
    )


def _unloadable(build: Build, python: str, glibc: str) -> str:
    """Why no wheel of ``build`` loads in the image; empty where one does. A release that the table lacks: no verdict."""
    release = tables.torch_releases().get(build.torch)
    if release is None:
        return ""
    if python not in release.pythons:
        return f"torch {build.torch} has no wheel for Python {python}"
    if older(glibc, release.glibc):
        return f"torch {build.torch} needs glibc {release.glibc}, the image has {glibc}"
    return ""


def _need(capability: str) -> str:
    """What torch a card asks for, from the table of compiled code."""
    least = min((wheel.cuda for wheel in builds.covering(capability)), key=numbers, default="")
    name = _sm(capability)
    return f"{name} needs a torch built with CUDA {least} or newer" if least else f"no torch wheel has code for {name}"


def _gives(driver: str) -> str:
    cuda = _cuda(driver)
    return f"driver {driver} gives CUDA {cuda}" if cuda else f"driver {driver} is older than every toolkit in the table"


def _cuda(driver: str) -> str:
    """The newest toolkit that came with ``driver`` or an older one; empty where the driver is older than all."""
    shipped = (row.cuda for row in tables.drivers().toolkit if not older(driver, row.driver))
    return max(shipped, key=numbers, default="")


def _newest(driver: str, build: Build) -> tuple[str, ...]:
    """Why this release, and what an older driver than the toolkit's own costs."""
    own = next((row.driver for row in tables.drivers().toolkit if row.cuda == build.cuda), driver)
    said = [
        f"{build.name}: the newest torch of the locks that runs there is {build.torch}, built for CUDA {build.cuda}"
    ]
    if older(driver, own):
        said.append(f"CUDA {build.cuda} came with driver {own}: on {driver} compiled code runs, PTX may be refused")
    return tuple(said)


def _way_out(capabilities: tuple[str, ...], driver: str | None) -> str:
    """For cards that no lock covers: another torch for each alone, or leaving one out where the cards differ too much."""
    for each in capabilities:
        if not any(builds.covers(build.architectures, each) for build in known()):
            return builds.advice(each, driver, "python3")[0]
    return "leave one kind of card out with CUDA_VISIBLE_DEVICES, each alone has a lock"


def _cards(capabilities: tuple[str, ...]) -> str:
    return " and ".join(_sm(each) for each in capabilities)


def _sm(capability: str) -> str:
    return f"sm_{capability.replace('.', '')}"
