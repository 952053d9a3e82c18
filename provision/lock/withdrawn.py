"""``provision lock --check``, the index's part: is what is pinned still offered, with the same bytes, and not withdrawn?

One look for all locks: each package's page is read once (``offered``). What a silent place might have is not known, so
nothing is called gone while one of its package's places is silent; the look says instead what it could not look at.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from provision.errors import ChangeError, UsageError
from provision.index import IndexSettings
from provision.lock import inputs, listing, offered, pylock, text
from provision.lock.check import Kind, Problem
from provision.lock.offered import Page, Unread
from provision.lock.page_cache import Offer, PageCache
from provision.lock.pages import Pages
from provision.lock.text import Pin
from provision.lock.variants import Requirement, Variant
from provision.record import record

Found = tuple[str, Offer]  # a place, fit to be shown, and what it offers


@record
class NotLooked:
    """Packages that could not be looked at on one place, and why."""

    place: str
    reason: str
    packages: tuple[str, ...]


@record
class Look:
    """What the indexes say of some locks. ``packages`` is how many were asked for."""

    problems: tuple[Problem, ...]
    not_looked: tuple[NotLooked, ...]
    packages: int


@record
class _Asked:
    """What every place of one package answered."""

    found: tuple[Found, ...]
    silent: bool


def look(
    variants: Iterable[Variant],
    *,
    lockfiles: Path,
    pyproject: Path,
    settings: IndexSettings,
    cache: PageCache,
    seconds: float = offered.DEADLINE_SECONDS,
) -> Look:
    """Ask every configured place about every pin of the locks that are there. Changes nothing but the cache."""
    locks = {variant.name: (variant, _lock(variant, lockfiles)) for variant in variants}
    wanted: dict[str, set[str]] = {}
    for _, lock in locks.values():
        for pin in lock.pins:
            wanted.setdefault(pin.name, set()).add(pin.version)
    try:
        pages = Pages(settings)
        places = {name: pages.places(name) for name in sorted(wanted)}
        answers = _ask(places, wanted, pages, cache, seconds)
        own = _own_pages((variant for variant, _ in locks.values()), pyproject, answers)
        for name, answer in _ask(own, wanted, pages, cache, seconds).items():
            answers[name] |= answer
    except ChangeError as error:  # a certificate file, or no pip to ask for the default index
        silence = NotLooked(place="the configured indexes", reason=error.message, packages=tuple(sorted(wanted)))
        return Look(problems=(), not_looked=(silence,) if wanted else (), packages=len(wanted))
    asked = {name: _asked(places, settings) for name, places in answers.items()}
    problems: list[Problem] = []
    left_open = set()
    for variant, lock in locks.values():
        path = lockfiles / f"{variant.name}.txt"
        loads = _Loads(variant)
        names = _names(lockfiles / pylock.filename(variant.name))
        for pin in lock.pins:
            problems += _problems(variant, path, pin, asked[pin.name], loads, names.get(pin.name, frozenset()))
            if not any(offer.sha256 in pin.sha256 and _is_of(offer, pin) for _, offer in asked[pin.name].found):
                left_open.add(pin.name)
    silent = tuple(_not_looked(answers, frozenset(left_open), settings))
    return Look(problems=tuple(problems), not_looked=silent, packages=len(wanted))


Answers = dict[str, dict[str, Page | Unread]]  # package, place


def _ask(
    places: Mapping[str, tuple[str, ...]],
    wanted: Mapping[str, set[str]],
    pages: Pages,
    cache: PageCache,
    seconds: float,
) -> Answers:
    """By package, what each of its ``places`` answered. A find-links place is one of every package, and is read once."""
    asked: dict[str, dict[str, frozenset[str]]] = {}
    for name, each in places.items():
        for place in each:
            asked.setdefault(place, {})[name] = frozenset(wanted[name])
    read = offered.read(asked, pages, cache, seconds) if asked else {}
    return {name: {place: read[place] for place in each} for name, each in places.items()}


def _own_pages(variants: Iterable[Variant], pyproject: Path, answers: Answers) -> dict[str, tuple[str, ...]]:
    """The page of a build that has an index of its own, where none of the user's places has it: as when it was locked."""
    own: dict[str, tuple[str, ...]] = {}
    for each in (each for variant in variants for each in _requirements(variant, pyproject) if each.index is not None):
        name, version = _normal(each.name), each.bound.removeprefix("==")
        if each.index is None or name not in answers:
            continue
        silent = any(isinstance(answer, Unread) for answer in answers[name].values())
        if not silent and not any(listing.is_wheel_of(o.filename, name, version) for o in _offers(answers[name])):
            own[name] = (each.index.page(name),)
    return own


def _requirements(variant: Variant, pyproject: Path) -> tuple[Requirement, ...]:
    try:
        return inputs.requirements(variant, pyproject)
    except UsageError:  # the files' own check has said so
        return ()


def _names(path: Path) -> dict[str, frozenset[str]]:
    """By package, the locked wheels' names, which only the lock's PEP 751 form holds; the files' own check reads it too."""
    if not path.is_file():
        return {}
    try:
        packages = pylock.parse(text.read(path)).packages
    except pylock.NotPylock:
        return {}
    return {each.name: frozenset(wheel.filename for wheel in each.wheels) for each in packages}


def _problems(
    variant: Variant, path: Path, pin: Pin, asked: _Asked, loads: _Loads, known: frozenset[str]
) -> Iterator[Problem]:
    hashes = frozenset(pin.sha256)
    locked = [each for each in asked.found if each[1].sha256 in hashes and _is_of(each[1], pin)]
    shown = f"{pin.name} {pin.version}"
    again = f"provision lock {variant.name} --upgrade {pin.name}"
    for place, offer in locked:
        if offer.yanked is not None:
            why = f": {offer.yanked}" if offer.yanked else ", without a reason"
            yield _problem("yanked", variant, path, pin, f"{shown} was withdrawn (yanked) by {place}{why}", again)
            break
    if not any(loads(offer.filename) for _, offer in locked):
        if not asked.silent:
            others = [each for each in asked.found if _is_of(each[1], pin)]
            yield _problem("vanished", variant, path, pin, _gone(shown, others, bool(locked), loads), again)
        return
    names = known | {offer.filename for _, offer in locked}
    for place, offer in asked.found:
        if offer.filename in names and offer.sha256 and offer.sha256 not in hashes:
            name = listing.one_line(offer.filename)
            message = f"{place} now has other bytes for {name}: sha256 {offer.sha256} is not in the lock"
            yield _problem("replaced", variant, path, pin, message, f"provision lock {variant.name}")


def _is_of(offer: Offer, pin: Pin) -> bool:
    """Whether a wheel of the pin's package is of its version, however either spells it."""
    spelt = offer.filename.split("-", 2)[1]
    return spelt == pin.version or listing.is_wheel_of(offer.filename, pin.name, pin.version)


def _gone(shown: str, here: list[Found], some_left: bool, loads: _Loads) -> str:
    here = sorted((each for each in here if loads(each[1].filename)), key=lambda each: each[1].filename)
    if here:
        place, name = here[0][0], listing.one_line(here[0][1].filename)
        return f"no place has a wheel of {shown} with a hash of this lock any more; {place} has {name} with other bytes"
    if some_left:
        return f"no configured place has a wheel of {shown} any more that this lock's Python and C library load"
    return f"no configured place has a wheel of {shown} any more"


class _Loads:
    """Whether a variant's target loads a wheel, by the tags at the end of its file name."""

    def __init__(self, variant: Variant) -> None:
        self._tags = frozenset(map(str, variant.target.tags()))

    def __call__(self, filename: str) -> bool:
        # packaging's parser takes 40 µs, and a few thousand names are looked at for every lock (0.3 s, 2026-11-24).
        tags = filename.removesuffix(".whl").lower().split("-")[-3:]
        return any("-".join(each) in self._tags for each in itertools.product(*(part.split(".") for part in tags)))


def _asked(answers: Mapping[str, Page | Unread], settings: IndexSettings) -> _Asked:
    found = []
    silent = False
    for place, answer in answers.items():
        if isinstance(answer, Page):
            found += [(settings.redact(place), offer) for offer in answer.offers]
            silent = silent or answer.empty or any(not offer.sha256 for offer in answer.offers)
        else:
            silent = True
    return _Asked(found=tuple(found), silent=silent)


def _offers(answers: Mapping[str, Page | Unread]) -> Iterator[Offer]:
    for answer in answers.values():
        if isinstance(answer, Page):
            yield from answer.offers


def _not_looked(answers: Answers, left_open: frozenset[str], settings: IndexSettings) -> Iterator[NotLooked]:
    """Silent places, grouped by index and reason. A page that names no file counts for packages that nobody else has."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name, places in answers.items():
        for place, answer in places.items():
            if isinstance(answer, Unread):
                reason = answer.reason
            elif any(not offer.sha256 for offer in answer.offers):
                reason = "its page names no hashes"
            elif answer.empty and name in left_open:
                reason = "answered with a page that names no file"
            else:
                continue
            groups.setdefault((_index_of(settings.redact(place), name), reason), []).append(name)
    for (place, reason), names in groups.items():
        yield NotLooked(place=place, reason=reason, packages=tuple(names))


def _index_of(place: str, package: str) -> str:
    """The index that a package's page belongs to; a find-links place is itself."""
    return place.removesuffix(f"{package}/") if place.endswith(f"/{package}/") else place


def _normal(name: str) -> str:
    from packaging.utils import canonicalize_name

    return canonicalize_name(name)


def _lock(variant: Variant, lockfiles: Path) -> text.Lock:
    path = lockfiles / f"{variant.name}.txt"
    return text.parse(text.read(path)) if path.is_file() else text.Lock(pins=(), input_sha256="")


def _problem(kind: Kind, variant: Variant, path: Path, pin: Pin, message: str, next_command: str) -> Problem:
    return Problem(
        kind=kind,
        variant=variant.name,
        path=path,
        line=pin.line,
        message=f"{path.name}:{pin.line}: {message}",
        next_command=next_command,
    )
