"""``provision lock --check``, the files' part: is a lock still what its input asks for? ``withdrawn`` asks the indexes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

from provision.errors import UsageError
from provision.index import redact
from provision.lock import inputs, pylock, pylock_check, standing, text
from provision.lock.text import Lock
from provision.lock.variants import Variant
from provision.record import record

Kind = Literal[
    "missing",  # a file is not there
    "input-changed",  # what the lock was made from reads differently now
    "not-looked",  # the input's source is not here, so whether it changed is not known
    "no-pin",  # a line that is no `name==version`
    "no-hash",  # a pin without a hash
    "unmet",  # a requirement that no pin meets
    "forbidden",  # a package that this accelerator keeps out
    "disagrees",  # another version than in the lock this one must agree with
    "drift",  # the PEP 751 form is no valid one, or says something else than the .txt
    "wrong-tag",  # a wheel that the target cannot load
    "needless",  # another version than in a lock of the same purpose, though one would do for both
    "yanked",  # the index withdrew it
    "vanished",  # no configured place has a wheel of it any more that has a hash of the lock and that the target loads
    "replaced",  # a place has other bytes under a locked wheel's name
]


@record
class Problem:
    """One thing wrong with one lock. ``line`` counts from 1 in ``path``; 0 is the file as a whole."""

    kind: Kind
    variant: str
    path: Path
    line: int
    message: str
    next_command: str


def check_lock(variant: Variant, *, lockfiles: Path, pyproject: Path) -> tuple[Problem, ...]:
    """Every problem of one variant's lock, in the file's order. Empty: the lock stands."""
    paths = tuple(
        lockfiles / name for name in (f"{variant.name}.in", f"{variant.name}.txt", pylock.filename(variant.name))
    )
    missing = [path for path in paths if not path.is_file()]
    if missing:
        return tuple(_problem("missing", variant, path, 0, "there is no such file") for path in missing)
    input_text = text.read(paths[0])
    lock = text.parse(text.read(paths[1]))
    return (
        *_input_problems(variant, paths[0], input_text, lock, pyproject),
        *sorted(_line_problems(variant, paths[1], lock, input_text), key=lambda problem: problem.line),
        *_disagreements(variant, paths[1], lock, lockfiles),
        *(
            _problem(kind, variant, paths[2], line, message)
            for kind, line, message in pylock_check.problems(variant, text.read(paths[1]), text.read(paths[2]))
        ),
        *_needless(variant, paths[1], lock, lockfiles),
    )


def _input_problems(variant: Variant, path: Path, input_text: str, lock: Lock, pyproject: Path) -> Iterator[Problem]:
    source = pyproject if variant.origin else Path("provision/catalog/variants.toml")
    try:
        rendered = inputs.render(variant, pyproject)
    except UsageError as error:
        yield _problem("not-looked", variant, path, 0, f"whether the input changed is not known: {error.message}")
        rendered = input_text
    if rendered != input_text:
        lines = zip(rendered.splitlines(), input_text.splitlines(), strict=False)
        differing = next((number for number, (new, old) in enumerate(lines, 1) if new != old), 0)
        yield _problem("input-changed", variant, path, differing, f"{source} asks for something else now")
    if text.digest(input_text) != lock.input_sha256:
        yield _problem("input-changed", variant, path, 0, f"{variant.name}.txt was made from another {path.name}")


def _line_problems(variant: Variant, path: Path, lock: Lock, input_text: str) -> Iterator[Problem]:
    for number, line in lock.strays:
        yield _problem("no-pin", variant, path, number, f"expected name==version and hashes, got {redact(line)[:80]!r}")
    for pin in lock.pins:
        if not pin.sha256:
            yield _problem("no-hash", variant, path, pin.line, f"{pin.name} {pin.version} has no hash")
        if variant.forbids(pin.name, pin.version):
            message = f"{pin.name} {pin.version} does not belong here: {variant.forbidden_because}"
            yield _problem("forbidden", variant, path, pin.line, message)
    yield from _unmet(variant, path, lock, input_text)


def _unmet(variant: Variant, path: Path, lock: Lock, input_text: str) -> Iterator[Problem]:
    """Requirements that no pin meets: the lock was edited, or cut short."""
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    locked = {pin.name: pin for pin in lock.pins}
    for number, line in enumerate(input_text.splitlines(), 1):
        if not line.strip() or line.startswith(("#", "-c ")):
            continue
        try:
            wanted = Requirement(line)
        except InvalidRequirement:
            yield _problem("unmet", variant, path.with_suffix(".in"), number, f"no requirement: {redact(line)[:80]!r}")
            continue
        pin = locked.get(canonicalize_name(wanted.name))
        if pin is None:
            yield _problem("unmet", variant, path, 0, f"{redact(line)} is asked for and not locked")
        elif not wanted.specifier.contains(pin.version, prereleases=True):
            yield _problem("unmet", variant, path, pin.line, f"{pin.name} {pin.version} does not meet {redact(line)}")


def _disagreements(variant: Variant, path: Path, lock: Lock, lockfiles: Path) -> Iterator[Problem]:
    for other in variant.agree_with:
        beside = lockfiles / f"{other}.txt"
        if not beside.is_file():
            yield _problem("missing", variant, beside, 0, f"{variant.name} must agree with it")
            continue
        versions = {pin.name: pin.version for pin in text.parse(text.read(beside)).pins}
        for pin in lock.pins:
            if versions.get(pin.name, pin.version) != pin.version:
                message = f"{pin.name} {pin.version} here, {versions[pin.name]} in {other}.txt"
                yield _problem("disagrees", variant, path, pin.line, message)


def _needless(variant: Variant, path: Path, lock: Lock, lockfiles: Path) -> Iterator[Problem]:
    lines = {pin.name: pin.line for pin in lock.pins}
    for move in standing.needless(variant, lockfiles):
        message = (
            f"{move.package} {move.here} here, {move.there} in {move.sibling}.txt; needless: every requirement here admits "
            f"{move.there}, and it has a wheel for CPython {variant.target.python}"
        )
        found = _problem("needless", variant, path, lines.get(move.package, 0), message)
        # All together: one alone would stay with those that have not moved yet.
        yield replace(found, next_command=f"provision lock {' '.join(standing.of_purpose(variant.purpose))}")


def _problem(kind: Kind, variant: Variant, path: Path, line: int, message: str) -> Problem:
    place = f"{path.name}:{line}" if line else path.name
    return Problem(
        kind=kind,
        variant=variant.name,
        path=path,
        line=line,
        message=f"{place}: {message}",
        next_command=f"provision lock {variant.name}",
    )
