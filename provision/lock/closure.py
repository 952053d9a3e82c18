"""Who asks whom for what in a lock: its input and every package's requirements, walked from the input."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from provision.lock import package
from provision.lock.package import Package
from provision.lock.target import Target
from provision.record import record

if TYPE_CHECKING:
    from packaging.requirements import Requirement

INPUT = ""  # who asks for what the input asks for


@record
class Closure:
    """``demands``: (who asks, for what), from the input on. ``extras``: by package, those that somebody asks for."""

    demands: tuple[tuple[str, Requirement], ...]
    extras: Mapping[str, frozenset[str]]


def walk(inputs: Iterable[Requirement], packages: Mapping[str, Package], target: Target) -> Closure:
    """Every demand that is in force. A package outside ``packages`` is demanded and asks for nothing."""
    from packaging.utils import canonicalize_name

    demands: dict[str, tuple[Requirement, ...]] = {INPUT: tuple(inputs)}
    extras: dict[str, frozenset[str]] = {}
    waiting = [INPUT]
    while waiting:
        for wanted in demands[waiting.pop()]:
            name = canonicalize_name(wanted.name)
            asked = extras.get(name, frozenset()) | {canonicalize_name(each) for each in wanted.extras}
            if name in packages and (name not in demands or asked != extras[name]):
                extras[name] = asked
                demands[name] = package.active(packages[name].requires, asked, target)
                waiting.append(name)
    return Closure(
        demands=tuple((who, wanted) for who in sorted(demands) for wanted in demands[who]),
        extras=extras,
    )


def trimmed(packages: Mapping[str, Package], closure: Closure, target: Target) -> dict[str, Package]:
    """``packages`` with the requirements that can hold on this machine under some Python, and with the extras asked for.

    vllm alone has hundreds of others.
    """
    targets = [replace(target, python=each) for each in package.PYTHONS]
    return {
        name: replace(
            each,
            requires=tuple(line for line in each.requires if _holds(line, closure.extras[name], targets)),
            extras=tuple(sorted(closure.extras[name])),
        )
        for name, each in packages.items()
        if name in closure.extras
    }


def _holds(line: str, extras: frozenset[str], targets: Iterable[Target]) -> bool:
    return any(package.active((line,), extras, target) for target in targets)
