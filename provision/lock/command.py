"""``provision lock`` as text and an exit code."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from provision.errors import UsageError
from provision.lock import checking, text, variants
from provision.lock.crosscheck import crosscheck as compare
from provision.lock.make import lock_variants
from provision.lock.resolve import RESOLVERS
from provision.progress import say


def checkout() -> tuple[Path, Path]:
    """The lockfiles folder and pyproject.toml of the checkout we run from.

    Raises ``UsageError`` outside one: a lock is a file of a repository, and an installed wheel has none to write.
    """
    here = Path(__file__).resolve().parents[2]
    if not (here / "pyproject.toml").is_file() or not (here / "lockfiles").is_dir():
        raise UsageError(
            "lockfiles are made in a checkout of provision; this is an installed copy", "git clone …, then: make venv"
        )
    return here / "lockfiles", here / "pyproject.toml"


def run(
    names: tuple[str, ...],
    *,
    only_check: bool,
    crosscheck: bool,
    resolver: Literal["uv", "pip-tools"] | str,
    upgrade: tuple[str, ...] = (),
    at: str = "",
    offline: bool = False,
    audit: bool = False,
    strict: bool = False,
) -> tuple[str, int]:
    """Make (or only check) the named locks, all of them where none is named. The text and the exit code.

    ``upgrade``: packages to move, or ``*`` for all.
    """
    lockfiles, pyproject = checkout()
    if (at or upgrade) and (only_check or audit or crosscheck):
        raise UsageError(
            "--at and --upgrade make a lock; --check, --audit and --crosscheck only look", "leave one of them out"
        )
    if at and upgrade:
        raise UsageError("--at resolves everything anew, so --upgrade says nothing more", "leave one of them out")
    if misread := [each for each in upgrade if each in {variant.name for variant in variants.load()}]:
        raise UsageError(f"{misread[0]} is a variant, no package", f"provision lock {misread[0]} --upgrade")
    chosen = tuple(variants.find(name) for name in names) or variants.load()
    freed = _freed(chosen, upgrade, lockfiles)
    chosen = tuple(variant for variant in chosen if variant.name in freed)
    if only_check or audit:
        return _looked(chosen, lockfiles, pyproject, only_check=only_check, audit=audit, offline=offline, strict=strict)
    if offline or strict:
        raise UsageError("--offline and --strict belong to --check and --audit", "provision lock --check --offline")
    lines: list[str] = []
    bad = False
    if not crosscheck:
        say(f"resolving {', '.join(variant.name for variant in chosen)} with {resolver}")
        made = lock_variants(
            chosen,
            resolver=resolver,  # type: ignore[arg-type]
            lockfiles=lockfiles,
            pyproject=pyproject,
            upgrade=freed,
            at=at,
        )
        for each in made:
            lines.append(f"{each.variant}: {len(each.pins)} packages, {'changed' if each.changed else 'unchanged'}")
            lines += [f"  {m.name}: {m.before or '-'} -> {m.after or '-'}: {m.because}" for m in each.moved]
        return "\n".join(lines) + "\n", 0
    for variant in chosen:
        say(f"{variant.name}: asking uv and pip-tools")
        answer = compare(variant, lockfiles=lockfiles, pyproject=pyproject)
        took = ", ".join(f"{name} {took:.1f} s" for name, took in zip(RESOLVERS, answer.seconds, strict=True))
        lines.append(
            f"{variant.name}: {answer.packages} packages, {answer.hashes} hashes, "
            f"{len(answer.differences)} differ ({took})"
        )
        lines += [f"  {name}: uv {one or '-'}, pip-tools {other or '-'}" for name, one, other in answer.differences]
        bad = bad or bool(answer.differences)
    return "\n".join(lines) + "\n", int(bad)


def _looked(
    chosen: tuple[variants.Variant, ...],
    lockfiles: Path,
    pyproject: Path,
    *,
    only_check: bool,
    audit: bool,
    offline: bool,
    strict: bool,
) -> tuple[str, int]:
    """What --check and --audit say; of two exit codes a finding's, then that of not having looked."""
    answers = []
    if only_check:
        answers.append(checking.check(chosen, lockfiles=lockfiles, pyproject=pyproject, offline=offline))
    if audit:
        answers.append(checking.audit(chosen, lockfiles=lockfiles, offline=offline, strict=strict))
    codes = {code for _, code in answers}
    return "".join(each for each, _ in answers), 1 if 1 in codes else max(codes)


def _freed(
    chosen: tuple[variants.Variant, ...], upgrade: tuple[str, ...], lockfiles: Path
) -> dict[str, bool | tuple[str, ...]]:
    """By variant, what may move: all, nothing, or which of the named packages its lock holds (a lock with none is left out).

    Raises ``UsageError`` for a package that no chosen lock holds.
    """
    from packaging.utils import canonicalize_name

    if not upgrade or "*" in upgrade:
        return {variant.name: bool(upgrade) for variant in chosen}
    wanted = {canonicalize_name(name) for name in upgrade}
    held: dict[str, bool | tuple[str, ...]] = {}
    unknown = set(wanted)
    for variant in chosen:
        path = lockfiles / f"{variant.name}.txt"
        pins = text.parse(text.read(path)).pins if path.is_file() else ()
        if here := tuple(sorted(wanted & {pin.name for pin in pins})):
            held[variant.name] = here
            unknown -= set(here)
    if unknown:
        raise UsageError(f"no lock that was asked for holds {', '.join(sorted(unknown))}", "provision lock --upgrade")
    return held
