"""Locks of one purpose that hold different versions of a package, though one version would do for both.

A version would do in another lock where every requirement there admits it, its own requirements are met there, and it has
a wheel that loads there. That is judged from the locks alone. Of the versions at hand the one that the most locks can
take is wanted in all of these, and of two such the newer; whoever cannot take it is asked again among themselves.
``provision lock`` moves by this, and ``--check`` names what would move.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from provision.lock import closure, package
from provision.lock.package import Package
from provision.lock.variants import Variant
from provision.record import record

if TYPE_CHECKING:
    from packaging.requirements import Requirement


@record
class Held:
    """One lock as it stands. ``bound``: versions it may not change (name to version). ``fixed``: it moves not at all."""

    variant: Variant
    inputs: tuple[Requirement, ...]
    packages: Mapping[str, Package]
    bound: Mapping[str, str]
    fixed: bool = False

    @property
    def name(self) -> str:
        return self.variant.name


@record
class Move:
    """``package`` could have the version ``there``, that of the lock ``sibling``, instead of ``here``."""

    package: str
    here: str
    there: str
    sibling: str


def moves(locks: Sequence[Held]) -> dict[str, tuple[Move, ...]]:
    """By lock, what should move so that the locks of each purpose agree where they can, sorted by package."""
    found: dict[str, tuple[Move, ...]] = {}
    for purpose in sorted({lock.variant.purpose for lock in locks}):
        found |= _moves([lock for lock in locks if lock.variant.purpose == purpose])
    return found


def _moves(locks: Sequence[Held]) -> dict[str, tuple[Move, ...]]:
    takes = {
        (taker.name, giver.name): _could_take(taker, giver.packages)
        for taker in locks
        for giver in locks
        if taker is not giver and not taker.fixed and _may_share(taker, giver)
    }
    wanted: dict[str, dict[str, Package]] = {lock.name: {} for lock in locks}
    origin: dict[tuple[str, str], str] = {}
    for name in sorted({name for lock in locks for name in lock.packages}):
        for lock, giver in _shared_out(name, locks, takes):
            wanted[lock.name][name] = giver.packages[name]
            origin[lock.name, name] = giver.name
    found = {}
    for lock in locks:
        together = _could_take(lock, wanted[lock.name]) if wanted[lock.name] else frozenset()
        if together:
            found[lock.name] = tuple(
                Move(
                    package=name,
                    here=lock.packages[name].version,
                    there=wanted[lock.name][name].version,
                    sibling=origin[lock.name, name],
                )
                for name in sorted(together)
            )
    return found


def _shared_out(
    name: str, locks: Iterable[Held], takes: Mapping[tuple[str, str], frozenset[str]]
) -> Iterable[tuple[Held, Held]]:
    """(lock, the sibling whose version it should take) for one package, for locks that should change theirs."""
    from packaging.version import Version

    rest = [lock for lock in locks if name in lock.packages]
    while len({lock.packages[name].version for lock in rest}) > 1:
        givers: dict[str, dict[str, Held]] = {}  # version to lock to whose it would be (its own, where it has it)
        for giver in rest:
            version = giver.packages[name].version
            givers.setdefault(version, {})[giver.name] = giver
            for taker in rest:
                if name in takes.get((taker.name, giver.name), frozenset()):
                    givers[version].setdefault(taker.name, giver)
        best = max(givers, key=lambda version: (len(givers[version]), Version(version)))
        for lock in rest:
            if lock.packages[name].version != best and lock.name in givers[best]:
                yield lock, givers[best][lock.name]
        rest = [lock for lock in rest if lock.name not in givers[best]]


def _may_share(taker: Held, giver: Held) -> bool:
    """What ``pythons`` says holds for one machine and C library."""
    one, other = taker.variant.target, giver.variant.target
    return (one.glibc, one.machine) == (other.glibc, other.machine)


def _could_take(taker: Held, offered: Mapping[str, Package]) -> frozenset[str]:
    """The packages of which ``taker`` could have the offered versions, all of these together."""
    taken = {
        name: each
        for name, each in offered.items()
        if name in taker.packages
        and each.version != taker.packages[name].version
        and taker.bound.get(name, each.version) == each.version
        and taker.variant.target.python in each.pythons
        and not taker.variant.forbids(name, each.version)
    }
    while taken:
        refused = _refused(taker, taken)
        if not refused:
            break
        for name in refused:
            del taken[name]
    return frozenset(taken)


def _refused(taker: Held, taken: Mapping[str, Package]) -> frozenset[str]:
    """Those of ``taken`` that somebody's requirement refuses, or whose own requirement nobody meets."""
    from packaging.utils import canonicalize_name

    packages = {**taker.packages, **taken}
    walked = closure.walk(taker.inputs, packages, taker.variant.target)
    # Nobody asks for it any more, or somebody asks for an extra of which its lock does not know the requirements.
    refused = {name for name, each in taken.items() if not walked.extras.get(name, {None}) <= {*each.extras}}
    for who, wanted in walked.demands:
        name = canonicalize_name(wanted.name)
        if name in packages and package.meets(wanted, packages[name].version):
            continue
        refused |= {name, who} & taken.keys()
    return frozenset(refused)
