"""``provision lock --check``: the files' part and the indexes' part of several locks, as text and an exit code."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from provision import cache, index
from provision.errors import ChangeError
from provision.index import IndexSettings
from provision.lock import text
from provision.lock.check import Problem, check_lock
from provision.lock.offered import DEADLINE_SECONDS
from provision.lock.page_cache import PageCache
from provision.lock.variants import Variant
from provision.lock.withdrawn import Look, NotLooked, look
from provision.progress import say

_UNASKED = "whether a locked wheel was withdrawn, replaced or is gone"


def check(
    variants: tuple[Variant, ...],
    *,
    lockfiles: Path,
    pyproject: Path,
    offline: bool,
    seconds: float = DEADLINE_SECONDS,
) -> tuple[str, int]:
    """What is wrong with these locks, a line each. 1: something is; 3: nothing is, but an index, or what an
    input is made from, could not be looked at; else 0.

    ``offline``, no-index in the user's settings and PROVISION_OFFLINE leave the indexes out: that is said, and was asked for.
    """
    with ThreadPoolExecutor(1) as pool:  # pip takes 0.2 s to tell its settings
        settings = None if offline else pool.submit(index.read)
        found = {v.name: list(check_lock(v, lockfiles=lockfiles, pyproject=pyproject)) for v in variants}
    seen: Look | None = None
    unasked = "--offline"
    if settings is not None:
        try:
            given = settings.result()
            unasked = _why_no_index()
            seen = None if given.no_index else _asked(variants, lockfiles, pyproject, given, seconds)
        except ChangeError as error:
            silence = NotLooked(place="the configured indexes", reason=error.message, packages=())
            seen = Look(problems=(), not_looked=(silence,), packages=0)
    for problem in seen.problems if seen else ():
        found[problem.variant].append(problem)
    looked = seen is not None and not seen.not_looked
    lines = [line for name, problems in found.items() for line in _lines(name, problems, looked)]
    if seen is None:
        lines.append(f"not looked at: {_UNASKED} ({unasked})")
    else:
        lines += [_silence(each, seen.packages) for each in seen.not_looked]
    kinds = {problem.kind for problems in found.values() for problem in problems}
    if kinds - {"not-looked"}:
        return "\n".join(lines) + "\n", 1
    silent = seen is not None and seen.not_looked
    return "\n".join(lines) + "\n", 3 if kinds or silent else 0


def _why_no_index() -> str:
    """``index.read`` gives no-index for both, and only one of them stands in the user's settings of pip or uv."""
    return "PROVISION_OFFLINE is set" if index.offline() else "no-index is set"


def _asked(
    variants: tuple[Variant, ...], lockfiles: Path, pyproject: Path, settings: IndexSettings, seconds: float
) -> Look:
    pages = PageCache(cache.folder() / "pages.json")
    if not settings.index_url:  # pip takes 0.3 s to tell its own index, and always tells the same
        key = f"index of {_pip()}"
        settings = replace(settings, index_url=pages.word(key, index.default_index_url))
    seen = look(variants, lockfiles=lockfiles, pyproject=pyproject, settings=settings, cache=pages, seconds=seconds)
    try:
        pages.save()
    except OSError as error:
        say(f"{pages.path}: not written ({error.strerror or error}); the next check reads every page again")
    return seen


def _pip() -> str:
    """The pip that is asked: its release and place, as somebody may have one that names another index."""
    there = metadata.distribution("pip")
    return f"pip {there.version} in {there.locate_file('')}"


def _lines(name: str, problems: list[Problem], looked: bool) -> list[str]:
    if not problems:
        return [f"{name}: stands" if looked else f"{name}: its files stand"]
    return [each.message + (f"; {each.next_command}" if each.kind in _NAMED else "") for each in problems]


_NAMED = frozenset({"yanked", "vanished", "replaced"})


def audit(variants: tuple[Variant, ...], *, lockfiles: Path, offline: bool, strict: bool) -> tuple[str, int]:
    """Known vulnerabilities, warnings, a line each. 1: there are some and ``strict``; 3: not all could be looked at; else 0."""
    from provision.lock import audit as auditing

    unasked = "not looked at: known vulnerabilities"
    if offline:
        return f"{unasked} (--offline)\n", 0
    settings = index.read()
    if settings.no_index:
        return f"{unasked} ({_why_no_index()})\n", 0
    say("asking pip-audit, which asks for one package after the other")
    files = ((variant.name, lockfiles / f"{variant.name}.txt") for variant in variants)
    seen = auditing.audit({name: text.parse(text.read(path)) for name, path in files if path.is_file()}, settings)
    lines = []
    for each in seen.vulnerabilities:
        fix = f"fixed in {', '.join(each.fixed_in)}" if each.fixed_in else "no version is named that fixes it"
        names = each.names[0] + (f" ({', '.join(each.names[1:])})" if each.names[1:] else "")
        lines.append(f"warning: {each.package} {each.version}: {names}, {fix}; in {', '.join(each.locks)}")
    lines.append(f"known vulnerabilities: {len(seen.vulnerabilities)}, of {seen.looked_at} locked versions looked at")
    for silent in seen.not_looked:
        which = "all" if not seen.looked_at and len(seen.not_looked) == 1 else ", ".join(silent.packages)
        lines.append(f"{unasked} of {which}: {silent.place}: {silent.reason}")
    if strict and seen.vulnerabilities:
        return "\n".join(lines) + "\n", 1
    return "\n".join(lines) + "\n", 3 if seen.not_looked else 0


def _silence(each: NotLooked, packages: int) -> str:
    if not each.packages or len(each.packages) == packages:
        return f"not looked at: {_UNASKED}: {each.place}: {each.reason}"
    return f"not looked at: {each.place} for {', '.join(each.packages)}: {each.reason}"
