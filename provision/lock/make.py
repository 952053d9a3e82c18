"""``provision lock``: one variant's input and lockfile made, or both resolvers' answers compared."""

from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path

from provision import index
from provision.errors import ChangeError, UsageError
from provision.files import write_whole
from provision.index import IndexSettings
from provision.lock import inputs, listing, text
from provision.lock.pages import Pages, united_sha256
from provision.lock.resolve import RESOLVERS, Resolver, resolve
from provision.lock.text import Pin
from provision.lock.variants import Requirement, Variant
from provision.record import record


@record
class Moved:
    """A package whose version changed; ``before`` or ``after`` is empty where it came or went. ``because``: what moved it."""

    name: str
    before: str
    after: str
    because: str = ""


@record
class Locked:
    """What one ``lock_variant`` did. ``changed`` is whether either file has other bytes than before."""

    variant: str
    resolver: str
    input_path: Path
    lock_path: Path
    pins: tuple[Pin, ...]
    moved: tuple[Moved, ...]
    changed: bool
    public_indexes: tuple[str, ...]  # names of the catalog's indexes that had to be asked


@record
class Crosscheck:
    """Two resolvers' answers to one input. ``differences`` are (package, uv's version, pip-tools' version)."""

    variant: str
    packages: int
    differences: tuple[tuple[str, str, str], ...]


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
    """Write ``<name>.in`` and ``<name>.txt`` into ``lockfiles``.

    Without ``upgrade`` the versions of the present lock are kept where they still fit; with names, those of all others.
    ``at`` (``2026-11-24``) resolves as of the end of that day in UTC, from nothing: repeated, it gives the same bytes.
    Every place that the user configured must answer; otherwise ``ChangeError``, and the previous files stand.
    """
    settings = index.read() if settings is None else settings
    input_text = inputs.render(variant, pyproject)
    beside = {f"{other}.txt": _constraints(lockfiles / f"{other}.txt") for other in variant.agree_with}
    lock_path = lockfiles / f"{variant.name}.txt"
    before = text.parse(lock_path.read_text()) if lock_path.is_file() else text.Lock(pins=(), input_sha256="")
    freed = frozenset(_normal(name) for name in upgrade) if isinstance(upgrade, tuple) else frozenset()
    if unknown := sorted(freed - {pin.name for pin in before.pins}):
        raise UsageError(f"{variant.name} holds no {', '.join(unknown)}", f"provision lock {variant.name} --upgrade")
    kept = () if at or upgrade is True else tuple(pin for pin in before.pins if pin.name not in freed)
    pins, sources = _answer(
        variant,
        input_text,
        inputs.requirements(variant, pyproject),
        settings=settings,
        resolver=resolver,
        beside=beside,
        previous=_bare(kept),
        hold=not freed,
        uploaded_before=_day_after(at) if at else "",
    )
    _refuse_forbidden(variant, pins)
    title = (
        f"{variant.name}: {variant.purpose}, accelerator {variant.accelerator}, CPython {variant.target.python}, "
        f"glibc {variant.target.glibc}, {variant.target.machine}."
    )
    changed = False
    try:
        lockfiles.mkdir(parents=True, exist_ok=True)
        for path, content in (
            (lockfiles / f"{variant.name}.in", input_text),
            (lock_path, text.render(variant.name, title, input_text, pins)),
        ):
            if not path.is_file() or path.read_text() != content:
                write_whole(path, content)
                changed = True
    except OSError as error:
        raise ChangeError(f"{lockfiles}: the lock was not written: {error.strerror}; the previous one stands") from None
    return Locked(
        variant=variant.name,
        resolver=resolver,
        input_path=lockfiles / f"{variant.name}.in",
        lock_path=lock_path,
        pins=pins,
        moved=_moved(before.pins, pins, freed),
        changed=changed,
        public_indexes=sources,
    )


def crosscheck(
    variant: Variant, *, lockfiles: Path, pyproject: Path, settings: IndexSettings | None = None
) -> Crosscheck:
    """Ask uv and pip-tools the same question from nothing, and compare every pin. Writes nothing."""
    settings = index.read() if settings is None else settings
    input_text = inputs.render(variant, pyproject)
    beside = {f"{other}.txt": _constraints(lockfiles / f"{other}.txt") for other in variant.agree_with}
    wanted = inputs.requirements(variant, pyproject)
    settings, _ = _with_public_indexes(wanted, Pages(settings))
    answers = []
    for resolver in RESOLVERS:
        pins = resolve(input_text, target=variant.target, settings=settings, resolver=resolver, beside=beside)
        answers.append({pin.name: pin.version for pin in pins})
    names = sorted(answers[0].keys() | answers[1].keys())
    pairs = ((name, answers[0].get(name, ""), answers[1].get(name, "")) for name in names)
    return Crosscheck(
        variant=variant.name, packages=len(names), differences=tuple(each for each in pairs if each[1] != each[2])
    )


def indexes_for(variant: Variant, pyproject: Path, settings: IndexSettings | None = None) -> IndexSettings:
    """The settings to download this variant's lock with: the user's, and the page of a public index where needed."""
    settings = index.read() if settings is None else settings
    return _with_public_indexes(inputs.requirements(variant, pyproject), Pages(settings))[0]


def _answer(
    variant: Variant,
    input_text: str,
    wanted: tuple[Requirement, ...],
    *,
    settings: IndexSettings,
    resolver: Resolver,
    beside: dict[str, str],
    previous: str,
    hold: bool,
    uploaded_before: str,
) -> tuple[tuple[Pin, ...], tuple[str, ...]]:
    """The pins with hashes and notes, and the names of the public indexes that were asked."""
    pages = Pages(settings, uploaded_before)
    # Also the look whether every place answers, before a resolver spends its retries on a dead one.
    pages.read(_normal(each.name) for each in wanted)
    settings, sources = _with_public_indexes(wanted, pages)
    pins = resolve(
        input_text,
        target=variant.target,
        settings=settings,
        resolver=resolver,
        beside=beside,
        previous=previous,
        hold=hold,
        before=uploaded_before,
    )
    if sources:
        pages = Pages(settings, uploaded_before)
    hashes = united_sha256(pages, ((pin.name, pin.version) for pin in pins))
    notes = {
        _normal(each.name): _note(each.name, each.index.name, sources) for each in wanted if each.index is not None
    }
    return tuple(replace(pin, sha256=hashes[pin.name], note=notes.get(pin.name, "")) for pin in pins), sources


def _with_public_indexes(wanted: tuple[Requirement, ...], pages: Pages) -> tuple[IndexSettings, tuple[str, ...]]:
    """The settings with the page of each public index that is needed as a find-links address, and those indexes' names.

    The user's own places come first and are enough where one of them has the exact build. Only where none has it
    is the project's own index asked, for that package alone, and not at all under no-index.
    """
    settings, names = pages.settings, []
    for each in wanted:
        if each.index is None:
            continue
        package, version = _normal(each.name), each.bound.removeprefix("==")
        if pages.wheels(package, version):
            continue
        have_not = f"{package} {version} is on none of the {len(pages.places(package))} places that pip is set to use"
        way_out = "set PIP_FIND_LINKS to a folder that holds the wheel, or PIP_EXTRA_INDEX_URL to a mirror that has it"
        if settings.no_index:
            raise ChangeError(f"{have_not}, and no-index forbids its own index {each.index.url}", way_out)
        page = each.index.page(package)
        try:
            offered = pages.files(page)
        except ChangeError as error:
            raise ChangeError(f"{have_not}, and {error.message[:1].lower()}{error.message[1:]}", way_out) from None
        if not any(listing.is_wheel_of(file.filename, package, version) for file in offered):
            raise ChangeError(f"{have_not}, and its own index {each.index.url} does not have it either", way_out)
        settings = settings.with_find_links(page)
        names.append(each.index.name)
    return settings, tuple(dict.fromkeys(names))


def _note(package: str, home: str, asked: tuple[str, ...]) -> str:
    """Where the hashes of a build with several homes come from: the same version may be other bytes elsewhere."""
    if home in asked:
        return f"{package}: its hashes are those of its own index, {home}."
    return (
        f"{package}: its hashes are those of the places configured by the user; its own index, {home}, was not asked."
    )


def _refuse_forbidden(variant: Variant, pins: tuple[Pin, ...]) -> None:
    for pin in pins:
        if variant.forbids(pin.name, pin.version):
            raise ChangeError(
                f"{variant.name} would hold {pin.name} {pin.version} (asked for by {', '.join(pin.via)}), "
                f"but {variant.forbidden_because}; nothing was written"
            )


def _constraints(path: Path) -> str:
    if not path.is_file():
        raise UsageError(f"{path}: missing, and this lock must agree with it", f"provision lock {path.stem}")
    return _bare(text.parse(path.read_text()).pins)


def _bare(pins: tuple[Pin, ...]) -> str:
    return "".join(f"{pin.name}=={pin.version}\n" for pin in pins)


def _moved(before: tuple[Pin, ...], after: tuple[Pin, ...], freed: frozenset[str]) -> tuple[Moved, ...]:
    old = {pin.name: pin.version for pin in before}
    new = {pin.name: pin for pin in after}
    moving = {name for name in old.keys() | new.keys() if old.get(name) != (new[name].version if name in new else None)}
    return tuple(
        Moved(
            name=name,
            before=old.get(name, ""),
            after=new[name].version if name in new else "",
            because=_because(name, new, moving, freed),
        )
        for name in sorted(moving)
    )


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


def _normal(name: str) -> str:
    from packaging.utils import canonicalize_name

    return canonicalize_name(name)
