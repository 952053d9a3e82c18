"""Which torch build a card and a driver can run, chosen from the tables of wheels and drivers."""

from __future__ import annotations

from provision.catalog import tables
from provision.catalog.tables import Wheel
from provision.catalog.version import minor, numbers, older

# PyTorch's own index of one CUDA variant: pytorch.org/get-started/previous-versions, as of 2026-11-24.
_INDEX = "https://download.pytorch.org/whl/cu{}"


def covers(architectures: tuple[str, ...], capability: str) -> bool:
    """Code for X.z runs on X.y where z <= y; never across majors."""
    major, low = numbers(capability)[:2]
    return any(numbers(a)[0] == major and numbers(a)[1] <= low for a in architectures)


def covering(capability: str) -> tuple[Wheel, ...]:
    """Every build with code for a card of this compute capability ("12.0")."""
    return tuple(wheel for wheel in tables.wheels() if covers(wheel.architectures, capability))


def runs(driver: str, cuda: str) -> bool:
    """Whether programs of ``cuda`` ("12.8") start on ``driver``: each CUDA major has an oldest one."""
    least = tables.minimum_driver(cuda)
    return least is not None and not older(driver, least)


def newest(wheels: tuple[Wheel, ...], driver: str | None = None) -> Wheel | None:
    """The newest release among the builds that ``driver`` runs (None: among all); None where there is none.

    Of one release's variants the one whose toolkit came with no newer driver goes first: on an older driver compiled code
    runs as well, only PTX may be refused (CUDA error 222). Then the newer CUDA.
    """
    shipped = {row.cuda: row.driver for row in tables.drivers().toolkit}
    fitting = [wheel for wheel in wheels if driver is None or runs(driver, wheel.cuda)]
    return max(
        fitting,
        key=lambda w: (
            numbers(w.torch),
            driver is None or not older(driver, shipped.get(w.cuda, driver)),
            numbers(w.cuda),
        ),
        default=None,
    )


def install(wheel: Wheel, python: str) -> str:
    """The command that installs a build. The default wheel of a release comes from the index that pip knows already."""
    default = {row.cuda for row in tables.torch_releases().values() if minor(row.torch) == wheel.torch}
    index = "" if default == {wheel.cuda} else f" --index-url {_INDEX.format(wheel.cuda.replace('.', ''))}"
    return f"{python} -m pip install --force-reinstall 'torch=={wheel.torch}.*'{index}"


def advice(capability: str, driver: str | None, python: str) -> tuple[str, ...]:
    """Commands that give a card torch with code for it, and why this build: what the driver runs, or which one it needs."""
    wheels = covering(capability)
    best = newest(wheels, driver)
    if driver is not None and best is not None:
        return (f"{install(best, python)}   # built for CUDA {best.cuda}, which driver {driver} runs",)
    majors = sorted({numbers(wheel.cuda)[0] for wheel in wheels}, reverse=True)
    if driver is not None:
        majors = majors[-1:]  # the oldest driver that helps
    made: list[str] = []
    for major in majors[:2]:
        wheel = newest(tuple(w for w in wheels if numbers(w.cuda)[0] == major))
        if wheel is not None:
            least = tables.minimum_driver(wheel.cuda)
            first = (
                f"first install driver {least} or newer: {driver} runs no build for this card; then " if driver else ""
            )
            why = f"   # built for CUDA {wheel.cuda}" + (
                "" if driver else f": needs driver {least} or newer, one that knows the card"
            )
            made.append(f"{'or: ' if made else ''}{first}{install(wheel, python)}{why}")
    return tuple(made) or ("no torch wheel in the table covers this card",)
