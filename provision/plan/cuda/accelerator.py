"""Which lock a machine can run, with the chain of reasons, or the nearest way out. Pure: tables only.

A chain of questions, each of which leaves some locks out and says why. Where one leaves none, there is no lock: what would
have to change is the way out.
"""

from __future__ import annotations

from collections.abc import Callable

from provision.catalog import builds, hardware, tables
from provision.catalog.version import minor, numbers, older
from provision.plan.cuda.image import Image
from provision.plan.cuda.locks import Lock
from provision.record import record

Ways = tuple[str, ...]


@record
class Machine:
    """What is asked of the hardware. None, or no capability: not known, and then nothing is left out for it."""

    capabilities: tuple[str, ...] = ()  # of every card, each once: "9.0"
    driver: str | None = None
    architecture: str | None = None  # "x86_64"
    flags: tuple[str, ...] | None = None  # of the processor


@record
class Choice:
    """``lock`` is None where none can work: then ``way_out`` says what would help, the nearest first.

    ``nearest``: the lock that would do with a newer driver.
    """

    lock: Lock | None
    reasons: tuple[str, ...]
    way_out: tuple[str, ...] = ()
    nearest: Lock | None = None


@record
class Question:
    """``out``: why a lock cannot be; "" where it can. ``way``: what to do where it leaves none of those it was asked of.

    ``said``: what is said once, before it is asked; ``passed``: after it, of those that are left.
    """

    out: Callable[[Lock], str]
    way: Callable[[tuple[Lock, ...]], Ways]
    said: tuple[str, ...] = ()
    passed: Callable[[tuple[Lock, ...]], Ways] = lambda _: ()
    driver: bool = False


def choose(
    locks: tuple[Lock, ...],
    machine: Machine,
    images: tuple[Image, ...],
    engine: tuple[Question, ...] = (),
    kernels: tuple[Question, ...] = (),
) -> Choice:
    """The newest of ``locks`` that every question lets through. They are of one device: all for GPUs, or all for the CPU.

    ``engine`` is asked before the cards' generation, ``kernels`` after it.
    """
    on_gpu = any(lock.cuda for lock in locks)
    questions = (
        _loads(machine, images),
        *engine,
        *((_code(machine),) if on_gpu else ()),
        *kernels,
        _instructions(machine),
        *((_driver(machine),) if on_gpu and machine.driver is not None else ()),
    )
    reasons: list[str] = [_need(each) for each in machine.capabilities] if on_gpu else []
    left = locks
    for question in questions:
        reasons += question.said
        outside = {lock.name: question.out(lock) for lock in left}
        kept = tuple(lock for lock in left if not outside[lock.name])
        reasons += [f"{label(lock)} is out: {outside[lock.name]}" for lock in left if outside[lock.name]]
        if not kept:
            nearest = _soonest(left) if question.driver else None
            return Choice(lock=None, reasons=tuple(reasons), way_out=question.way(left), nearest=nearest)
        reasons += question.passed(kept)
        left = kept
    lock = max(left, key=lambda each: numbers(each.torch))
    return Choice(lock=lock, reasons=(*reasons, *(_newest(machine.driver, lock) if on_gpu else ())))


def label(lock: Lock) -> str:
    """A lock for the smoke test by its accelerator, one for serving by its name."""
    return lock.accelerator if lock.purpose == "smoke" else lock.name


def _soonest(left: tuple[Lock, ...]) -> Lock:
    """The lock that the least new driver runs; of equals the newest torch."""
    ordered = sorted(left, key=lambda each: numbers(each.torch), reverse=True)
    return min(ordered, key=lambda each: numbers(each.minimum_driver or ""))


def _loads(machine: Machine, images: tuple[Image, ...]) -> Question:
    def out(lock: Lock) -> str:
        if machine.architecture not in (None, lock.machine):
            return f"its wheels are for {lock.machine}, this is {machine.architecture}"
        here = [image for image in images if image.python == lock.python]
        if not here:
            pythons = " or ".join(sorted({image.python for image in images}))
            return f"it is made for Python {lock.python}, the image has {pythons or 'none that is known'}"
        glibc = max((image.glibc for image in here), key=numbers)
        if not older(glibc, lock.glibc):
            return ""
        release = tables.torch_releases().get(lock.torch)
        if release is not None and older(glibc, release.glibc):
            return f"torch {lock.torch} needs glibc {release.glibc}, the image has {glibc}"
        for package, version in lock.packages.items():
            row = tables.package_range(package, version) if version else None
            if row is not None and older(glibc, row.glibc):
                return f"{package} {version} needs glibc {row.glibc}, the image has {glibc}"
        return f"it was resolved for glibc {lock.glibc}, the image has {glibc}"

    def way(left: tuple[Lock, ...]) -> Ways:
        if machine.architecture is not None and all(lock.machine != machine.architecture for lock in left):
            return (
                f"add a variant for {machine.architecture} to provision/catalog/variants.toml, then provision lock",
            )
        wanted = " or ".join(sorted({lock.python for lock in left}))
        glibc = min((lock.glibc for lock in left), key=numbers, default="")
        made = sorted({image.python for image in images} - {lock.python for lock in left})
        ours = "or: add a variant for Python {0} to provision/catalog/variants.toml, then provision lock"
        return (
            f"set image.base (or image.python) in provision.toml to an image with Python {wanted} and glibc {glibc} or newer",
            *(ours.format(python) for python in made if any(_has_wheel(lock, python) for lock in left)),
        )

    def passed(left: tuple[Lock, ...]) -> Ways:
        (lock, *_) = left
        image = next(each for each in images if each.python == lock.python)
        torches = ", ".join(dict.fromkeys(each.torch for each in sorted(left, key=_torch, reverse=True)))
        return (f"the image's Python {image.python} and glibc {image.glibc} load the wheels of torch {torches}",)

    return Question(out=out, way=way, passed=passed)


def _torch(lock: Lock) -> tuple[int, ...]:
    return numbers(lock.torch)


def _has_wheel(lock: Lock, python: str) -> bool:
    release = tables.torch_releases().get(lock.torch.partition("+")[0])
    return release is not None and python in release.pythons


def _code(machine: Machine) -> Question:
    """Of torch by the table of compiled code, of other packages by the table of floors."""

    def out(lock: Lock) -> str:
        bare = tuple(each for each in machine.capabilities if not builds.covers(lock.architectures, each))
        if bare:
            return f"torch {lock.torch} has no code for {_cards(bare)}"
        for row in hardware.floors():
            version = lock.packages.get(row.package)
            if version and not older(version, row.first) and not (row.last and older(row.last, version)):
                below = tuple(each for each in machine.capabilities if older(each, row.least))
                if below:
                    return f"{row.package} {version} has code from {sm(row.least)} on, none for {_cards(below)}"
        return ""

    def way(left: tuple[Lock, ...]) -> Ways:
        for each in machine.capabilities:
            if not any(builds.covers(lock.architectures, each) for lock in left):
                return builds.advice(each, machine.driver, "python3")
        if len(machine.capabilities) > 1:
            return ("leave one kind of card out with CUDA_VISIBLE_DEVICES: no one lock has code for all",)
        return (f"another card, or packages built for {_cards(machine.capabilities)} (no lock here has them)",)

    return Question(out=out, way=way)


def _instructions(machine: Machine) -> Question:
    """What packages use of the processor without asking it first."""

    def rows(lock: Lock) -> list[hardware.Instructions]:
        return [
            row
            for row in hardware.instructions()
            if row.local in lock.packages.get(row.package, "?") and not (row.device == "cpu" and lock.cuda)
            if row.package in lock.packages
        ]

    def out(lock: Lock) -> str:
        for row in rows(lock):
            lacking = [flag for flag in row.flags if flag not in (machine.flags or ())]
            if lacking and machine.flags is not None:
                need = f"{row.package} {lock.packages[row.package]}".strip()
                return f"{need} needs {' and '.join(lacking)}, which this processor does not have"
        return ""

    def way(_: tuple[Lock, ...]) -> Ways:
        return ("in a virtual machine: give it the host's processor model (host-passthrough); else another machine",)

    def passed(left: tuple[Lock, ...]) -> Ways:
        said = []
        for row in dict.fromkeys(row for lock in left for row in rows(lock)):
            has = "has" if machine.flags is not None else "must have (it was not looked at)"
            said.append(f"the processor {has} {' and '.join(row.flags)}, which {row.package} needs")
        return tuple(said)

    return Question(out=out, way=way, passed=passed)


def _driver(machine: Machine) -> Question:
    driver = machine.driver or ""

    def out(lock: Lock) -> str:
        if builds.runs(driver, lock.cuda):
            return ""
        return f"CUDA {lock.cuda} needs driver {lock.minimum_driver} or newer"

    def way(left: tuple[Lock, ...]) -> Ways:
        first = (
            f"install driver {_soonest(left).minimum_driver} or newer: {driver} runs none of the locks for these cards"
        )
        wheels = tuple(
            w for w in tables.wheels() if all(builds.covers(w.architectures, each) for each in machine.capabilities)
        )
        found = builds.newest(wheels, driver)
        if found is None:
            return (first,)
        by_hand = f"or, without a lock: {builds.install(found, 'python3')}   # built for CUDA {found.cuda}, which {driver} runs"
        return (first, by_hand)

    return Question(out=out, way=way, said=(_gives(driver),), driver=True)


def _need(capability: str) -> str:
    """What torch a card asks for, from the table of compiled code. Newer builds leave old generations out."""
    name = sm(capability)
    fitting = sorted({wheel.cuda for wheel in builds.covering(capability)}, key=numbers)
    if not fitting:
        return f"no torch wheel has code for {name}"
    left_out = older(fitting[-1], max((wheel.cuda for wheel in tables.wheels()), key=numbers))
    return f"{name} needs a torch built with CUDA {fitting[0]} {f'to {fitting[-1]}' if left_out else 'or newer'}"


def _gives(driver: str) -> str:
    cuda = _cuda(driver)
    return f"driver {driver} gives CUDA {cuda}" if cuda else f"driver {driver} is older than every toolkit in the table"


def _cuda(driver: str) -> str:
    """The newest toolkit that came with ``driver`` or an older one; empty where the driver is older than all."""
    shipped = (row.cuda for row in tables.drivers().toolkit if not older(driver, row.driver))
    return max(shipped, key=numbers, default="")


def _newest(driver: str | None, lock: Lock) -> Ways:
    """Why this release, and what an older driver than the toolkit's own costs."""
    if driver is None:
        return (f"{label(lock)} is the newest left; which driver there is, is not known",)
    said = [
        f"{label(lock)}: torch {lock.torch}, built for CUDA {lock.cuda}, is the newest of the locks that runs there"
    ]
    gives = _cuda(driver)
    releases = [row for row in tables.torch_releases().values() if row.cuda and not older(gives, row.cuda)]
    newest = max((row.torch for row in releases), key=numbers, default="")
    if newest and not older(gives, lock.cuda):
        kept = "" if newest == lock.torch else f"; the lock keeps {minor(lock.torch)}: {lock.because}"
        said.append(f"newest torch whose default wheel is CUDA <= {gives}: {newest}{kept}")
    own = next((row.driver for row in tables.drivers().toolkit if row.cuda == lock.cuda), driver)
    if older(driver, own):
        said.append(f"CUDA {lock.cuda} came with driver {own}: on {driver} compiled code runs, PTX may be refused")
    return tuple(said)


def _cards(capabilities: tuple[str, ...]) -> str:
    return " and ".join(sm(each) for each in capabilities)


def sm(capability: str) -> str:
    """ "sm_120" of "12.0"."""
    return f"sm_{capability.replace('.', '')}"
