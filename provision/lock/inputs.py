"""The input of a lock, ``NAME.in``: rendered from pyproject.toml or the catalog, a reason beside each bound."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import tomllib

from provision.errors import UsageError
from provision.lock.variants import Requirement, Variant


def render(variant: Variant, pyproject: Path) -> str:
    """The text of ``<name>.in``.

    Requirements keep their order in the source after sorting by name. ``-c OTHER.txt`` lines make the lock agree
    with another one in the same folder. Raises ``UsageError`` where pyproject.toml lacks what is named.
    """
    target = variant.target
    origin = f"pyproject.toml, [{variant.origin}]" if variant.origin else "provision/catalog/variants.toml"
    lines = [
        f"# What {variant.name} asks for: {variant.purpose}, accelerator {variant.accelerator}, "
        f"CPython {target.python}, glibc {target.glibc}, {target.machine}.",
        f"# Rendered from {origin}; change it there, then run:",
        f"#     provision lock {variant.name}",
        *(f"-c {other}.txt" for other in variant.agree_with),
    ]
    for requirement in sorted(requirements(variant, pyproject), key=lambda each: each.name.lower()):
        if requirement.because:
            lines.append(f"# {requirement.name}: {requirement.because}")
        lines.append(requirement.name + requirement.bound)
    return "\n".join(lines) + "\n"


def requirements(variant: Variant, pyproject: Path) -> tuple[Requirement, ...]:
    """What ``variant`` asks for, from the catalog or from pyproject.toml."""
    if not variant.origin:
        for each in variant.requirements:
            _refuse_unreadable(each.name + each.bound, f"provision/catalog/variants.toml: variant.{variant.name}: ")
        return variant.requirements
    try:
        text = pyproject.read_text()
        table = tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{pyproject}: cannot be read: {error}; {variant.name} is made from its [{variant.origin}]",
            "run `provision lock` in a checkout of the project",
        ) from None
    section, _, key = variant.origin.partition(".")
    entries = _entries(table, section, key, pyproject, ())
    for entry in entries:
        number = next((n for n, line in enumerate(text.splitlines(), 1) if entry in line), 0)
        _refuse_unreadable(entry, f"{pyproject.name}: " + (f"line {number}: " if number else ""))
    return tuple(_from_pyproject(entry, _reason(text, entry)) for entry in entries)


def _entries(table: dict[str, Any], section: str, key: str, path: Path, seen: tuple[str, ...]) -> list[str]:
    """The requirement strings of one list; a dependency group may include others (PEP 735)."""
    where = f"{path}: {section}.{key}"
    entries = table.get(section, {}).get(key)
    if not isinstance(entries, list) or key in seen:
        problem = "includes itself" if key in seen else "expected a list of requirements"
        raise UsageError(f"{where}: {problem}")
    found: list[str] = []
    for entry in entries:
        if isinstance(entry, dict) and set(entry) == {"include-group"}:
            found += _entries(table, section, str(entry["include-group"]), path, (*seen, key))
        elif isinstance(entry, str):
            found.append(entry)
        else:
            raise UsageError(f"{where}: expected a requirement, got {entry!r}")
    return found


def _from_pyproject(entry: str, because: str) -> Requirement:
    from packaging.requirements import Requirement as Parsed

    parsed = Parsed(entry)
    return Requirement(
        name=parsed.name, bound=entry.strip()[len(parsed.name) :], because=because, source="pyproject.toml", date=""
    )


def _refuse_unreadable(entry: str, where: str) -> None:
    from packaging.requirements import InvalidRequirement
    from packaging.requirements import Requirement as Parsed

    try:
        Parsed(entry)
    except InvalidRequirement as error:
        raise UsageError(f"{where}{entry!r} is no requirement: {str(error).splitlines()[0]}") from None


def _reason(text: str, entry: str) -> str:
    """The comment behind a requirement in pyproject.toml, which is where its reason stands; often there is none."""
    found = re.search(rf"""["']{re.escape(entry)}["']\s*,?[ \t]*#[ \t]*(\S[^\n]*)""", text)
    return found[1].strip() if found else ""
