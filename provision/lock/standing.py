"""The locks as they stand in a folder, for the agreement among those of one purpose."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path

from provision.lock import agreement, package, pylock, text, variants
from provision.lock.agreement import Held, Move
from provision.lock.answer import requirement_lines
from provision.lock.variants import Variant


def siblings(chosen: Iterable[Variant], lockfiles: Path, known: Iterable[Variant] | None = None) -> tuple[Held, ...]:
    """The locks of the same purposes that are not ``chosen``, as they stand; ``known``: the catalog's variants."""
    chosen = tuple(chosen)
    names, purposes = {each.name for each in chosen}, {each.purpose for each in chosen}
    others = [each for each in known or variants.load() if each.purpose in purposes and each.name not in names]
    return tuple(held for each in others if (held := _held(each, lockfiles, fixed=True)) is not None)


def needless(variant: Variant, lockfiles: Path, known: Iterable[Variant] | None = None) -> tuple[Move, ...]:
    """What should move in this lock so that it agrees with the others of its purpose."""
    among = tuple(each for each in known or variants.load() if each.purpose == variant.purpose)
    return dict(_needless(_texts(among, lockfiles))).get(variant.name, ())


def of_purpose(purpose: str) -> tuple[str, ...]:
    """The names of the catalog's variants with that purpose."""
    return tuple(each.name for each in variants.load() if each.purpose == purpose)


@functools.cache
def _needless(texts: tuple[tuple[Variant, str, str, str], ...]) -> tuple[tuple[str, tuple[Move, ...]], ...]:
    held = [_from_texts(*each, fixed=False) for each in texts]
    return tuple(agreement.moves([each for each in held if each is not None]).items())


def _texts(among: Iterable[Variant], lockfiles: Path) -> tuple[tuple[Variant, str, str, str], ...]:
    """The input, the PEP 751 lock and the constraints of each variant that has them all."""
    found = []
    for each in among:
        paths = lockfiles / f"{each.name}.in", lockfiles / pylock.filename(each.name)
        beside = [lockfiles / f"{other}.txt" for other in each.agree_with]
        if all(path.is_file() for path in (*paths, *beside)):
            found.append((each, text.read(paths[0]), text.read(paths[1]), "".join(text.read(path) for path in beside)))
    return tuple(found)


def _held(variant: Variant, lockfiles: Path, *, fixed: bool) -> Held | None:
    for each in _texts((variant,), lockfiles):
        return _from_texts(*each, fixed=fixed)
    return None


def _from_texts(variant: Variant, input_text: str, pylock_text: str, beside: str, *, fixed: bool) -> Held | None:
    """``None`` for a lock that cannot be read: what is wrong with it, ``--check`` says for itself."""
    from packaging.requirements import InvalidRequirement

    try:
        packages = {each.name: each for each in pylock.parse(pylock_text).packages}
        asked = package.active(requirement_lines(input_text), (), variant.target)
    except (pylock.NotPylock, InvalidRequirement):
        return None
    return Held(
        variant=variant,
        inputs=asked,
        packages=packages,
        bound={pin.name: pin.version for pin in text.parse(beside).pins},
        fixed=fixed,
    )
