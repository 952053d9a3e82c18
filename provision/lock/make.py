"""``provision lock``: the files of one variant or of several made, side by side and in agreement."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from provision import index
from provision.errors import ChangeError, ProvisionError, UsageError
from provision.index import IndexSettings
from provision.lock import agreement, answer, pylock, standing, text
from provision.lock.answer import Answer, Question
from provision.lock.pages import Pages
from provision.lock.resolve import Resolver
from provision.lock.store import write_together
from provision.lock.text import Pin
from provision.lock.variants import Variant
from provision.record import record

_SIDE_BY_SIDE = 4  # uv mostly waits for the network; more of them than this were no faster on 2 cores (2026-11-24)
_ROUNDS = 4  # a version that moved may let another one move


@record
class Moved:
    """A package whose version changed; ``before`` or ``after`` is empty where it came or went. ``because``: what moved it."""

    name: str
    before: str
    after: str
    because: str = ""


@record
class Locked:
    """What was done for one variant. ``changed`` is whether any of its files has other bytes than before."""

    variant: str
    resolver: str
    input_path: Path
    lock_path: Path
    pylock_path: Path
    pins: tuple[Pin, ...]
    moved: tuple[Moved, ...]
    changed: bool
    public_indexes: tuple[str, ...]  # names of the catalog's indexes that had to be asked


def lock_variant(
    variant: Variant,
    *,
    lockfiles: Path,
    pyproject: Path,
    settings: IndexSettings | None = None,
    resolver: Resolver = "uv",
    upgrade: bool | tuple[str, ...] = False,
    at: str = "",
) -> Locked:
    """``lock_variants`` for one."""
    (made,) = lock_variants(
        (variant,),
        lockfiles=lockfiles,
        pyproject=pyproject,
        settings=settings,
        resolver=resolver,
        upgrade={variant.name: upgrade},
        at=at,
    )
    return made


def lock_variants(
    chosen: Sequence[Variant],
    *,
    lockfiles: Path,
    pyproject: Path,
    settings: IndexSettings | None = None,
    resolver: Resolver = "uv",
    upgrade: Mapping[str, bool | tuple[str, ...]] | None = None,
    at: str = "",
) -> tuple[Locked, ...]:
    """Write ``<name>.in``, ``<name>.txt`` and ``pylock.<name>.toml`` of every chosen variant: all of them, or none.

    Without ``upgrade`` (by variant) the versions of the present lock are kept where they still fit; with names, those of all
    others. Where a version of another lock of the same purpose fits as well, that one is taken (``agreement``); under
    ``upgrade`` and ``at`` only the locks made in this run count for that.
    ``at`` (``2026-11-24``) resolves as of the end of that day in UTC, from nothing: repeated, it gives the same bytes.
    Every place that the user configured must answer; otherwise ``ChangeError``, and the previous files stand.
    """
    settings = index.read() if settings is None else settings
    upgrade = upgrade or {}
    day = _day_after(at) if at else ""
    pages = Pages(settings, day)
    questions = {
        each.name: answer.question(
            each, lockfiles=lockfiles, pyproject=pyproject, upgrade=upgrade.get(each.name, False), uploaded_before=day
        )
        for each in _after_those_they_agree_with(chosen)
    }
    answers = _ask_all(questions, {}, pages, resolver, lockfiles)
    fixed = () if at or any(upgrade.values()) else standing.siblings(chosen, lockfiles)
    agreed: dict[tuple[str, str, str], str] = {}
    for _ in range(_ROUNDS):
        held = [each.held(_bound(each, answers, lockfiles)) for each in answers.values()]
        moves = agreement.moves([*held, *fixed])
        if not moves:
            break
        again = {name: _moved_question(answers[name], moves[name]) for name in moves}
        agreed |= {(name, move.package, move.there): move.sibling for name in moves for move in moves[name]}
        answers |= _ask_all(again, answers, pages, resolver, lockfiles)
    contents = {name: _contents(each) for name, each in answers.items()}
    try:
        changed = write_together(lockfiles, {file: each for files in contents.values() for file, each in files.items()})
    except OSError as error:
        raise ChangeError(f"{lockfiles}: the lock was not written: {error.strerror}; the previous one stands") from None
    return tuple(
        Locked(
            variant=each.name,
            resolver=resolver,
            input_path=lockfiles / f"{each.name}.in",
            lock_path=lockfiles / f"{each.name}.txt",
            pylock_path=lockfiles / pylock.filename(each.name),
            pins=answers[each.name].pins,
            moved=_moved(answers[each.name], answer.freed_by(upgrade.get(each.name, False)), agreed),
            changed=not changed.isdisjoint(contents[each.name]),
            public_indexes=answers[each.name].public_indexes,
        )
        for each in chosen
    )


def indexes_for(variant: Variant, pyproject: Path, settings: IndexSettings | None = None) -> IndexSettings:
    """The settings to download this variant's lock with: the user's, and the page of a public index where needed."""
    from provision.lock import inputs

    settings = index.read() if settings is None else settings
    return answer.with_public_indexes(inputs.requirements(variant, pyproject), Pages(settings))[0].settings


def _ask_all(
    questions: Mapping[str, Question], known: Mapping[str, Answer], pages: Pages, resolver: Resolver, lockfiles: Path
) -> dict[str, Answer]:
    """The answers, several at a time; who must agree with another one that is asked waits for its answer."""
    futures: dict[str, Future[Answer]] = {}

    def ask(name: str) -> Answer:
        variant = questions[name].variant
        done = {**known, **{other: futures[other].result() for other in variant.agree_with if other in futures}}
        try:
            return answer.ask(questions[name], pages, resolver, _beside(variant, done, lockfiles))
        except ProvisionError as error:
            if len(questions) > 1:
                error.message = f"{name}: {error.message}"
            raise

    with ThreadPoolExecutor(_SIDE_BY_SIDE if resolver == "uv" else 1) as pool:
        for name in questions:  # in an order in which nobody waits for one that has not begun
            futures[name] = pool.submit(ask, name)
        try:
            return {name: future.result() for name, future in futures.items()}
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _beside(variant: Variant, answers: Mapping[str, Answer], lockfiles: Path) -> dict[str, Mapping[str, str]]:
    """The versions of the locks that this one must agree with: as just answered, else as they stand."""
    here = {other: answers[other] for other in variant.agree_with if other in answers}
    rest = replace(variant, agree_with=tuple(other for other in variant.agree_with if other not in here))
    return {
        **{other: {pin.name: pin.version for pin in each.pins} for other, each in here.items()},
        **answer.beside_on_disk(rest, lockfiles),
    }


def _bound(each: Answer, answers: Mapping[str, Answer], lockfiles: Path) -> dict[str, str]:
    beside = _beside(each.question.variant, answers, lockfiles)
    return {name: version for versions in beside.values() for name, version in versions.items()}


def _after_those_they_agree_with(chosen: Sequence[Variant]) -> tuple[Variant, ...]:
    """The variants, each after those it must agree with."""
    rest, found = list(chosen), list[Variant]()
    while rest:
        names = {each.name for each in rest}
        ready = [each for each in rest if names.isdisjoint(each.agree_with)]
        if not ready:
            raise UsageError(f"{', '.join(sorted(names))}: agree_with goes round in a circle")
        found += ready
        rest = [each for each in rest if each not in ready]
    return tuple(found)


def _moved_question(given: Answer, moves: Sequence[agreement.Move]) -> Question:
    there = {move.package: move.there for move in moves}
    keep = tuple(replace(pin, version=there.get(pin.name, pin.version)) for pin in given.pins)
    return replace(given.question, keep=keep, hold=True)


def _contents(given: Answer) -> dict[str, str]:
    """The three files of one variant, text by name."""
    variant, input_text = given.question.variant, given.question.input_text
    title = (
        f"{variant.name}: {variant.purpose}, accelerator {variant.accelerator}, CPython {variant.target.python}, "
        f"glibc {variant.target.glibc}, {variant.target.machine}."
    )
    lock = text.render(variant.name, title, input_text, given.pins)
    return {
        f"{variant.name}.in": input_text,
        f"{variant.name}.txt": lock,
        pylock.filename(variant.name): pylock.render(
            variant.name, title, variant.target, text.digest(lock), given.packages.values()
        ),
    }


def _moved(given: Answer, freed: frozenset[str], agreed: Mapping[tuple[str, str, str], str]) -> tuple[Moved, ...]:
    """What changed since the lock before. ``agreed``: (lock, package, version) to the lock it was taken from."""
    old = {pin.name: pin.version for pin in given.question.before.pins}
    new = {pin.name: pin for pin in given.pins}
    moving = {name for name in old.keys() | new.keys() if old.get(name) != (new[name].version if name in new else None)}
    found = []
    for name in sorted(moving):
        after = new[name].version if name in new else ""
        sibling = agreed.get((given.question.variant.name, name, after))
        because = f"so that it agrees with {sibling}" if sibling else _because(name, new, moving, freed)
        found.append(Moved(name=name, before=old.get(name, ""), after=after, because=because))
    return tuple(found)


def _because(name: str, new: dict[str, Pin], moving: set[str], freed: frozenset[str]) -> str:
    """What moved a package: it was named, or those that ask for it moved, or it is the newest that all of them admit."""
    if name in freed:
        return "it was asked to move"
    if name not in new:
        return "nothing asks for it any more"
    askers = new[name].via
    if forced := [each for each in askers if each in moving]:
        return f"asked for by {', '.join(forced)}, which moved too"
    return f"the newest that {', '.join(askers) or 'the input'} admits"


def _day_after(day: str) -> str:
    """The first moment, in UTC, that is no longer ``day``. Raises ``UsageError`` where it is no day."""
    try:
        following = datetime.date.fromisoformat(day) + datetime.timedelta(days=1)
    except (ValueError, OverflowError):
        raise UsageError(f"{day!r} is no day such as 2026-11-24", "provision lock --at 2026-11-24") from None
    return f"{following.isoformat()}T00:00:00Z"
