"""Causes, not lists: findings are grouped under their cause, and what a cause explains is listed under it.

``catalog/causes.toml`` holds one table per cause: ``line`` (what it is) and ``explains`` (the causes that follow
from it). The relation is acyclic; a test walks it. Causes that are equally sure stand in the table's order, which goes
from the driver up: what lies deeper is the likelier root.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from provision import catalog, codec
from provision.check import Finding, Result, Severity
from provision.record import record

Certainty = Literal["certain", "likely", "possible"]
_SEVERITY = ("error", "warning", "note")
_CERTAINTY = ("certain", "likely", "possible")


@record
class CauseRow:
    """One row of the table: what it is, and which other causes it explains when it is active."""

    line: str
    explains: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Cause:
    """One root cause with its evidence; ``also`` holds the codes of what follows from it."""

    cause: str
    codes: tuple[str, ...]
    severity: Severity
    certainty: Certainty
    tell_apart: tuple[str, ...]
    because: tuple[str, ...]
    fix: tuple[str, ...]
    also: tuple[str, ...]


@functools.cache
def table() -> Mapping[str, CauseRow]:
    """The causes table."""
    return codec.load(dict[str, CauseRow], catalog.read("causes.toml"))


def explained_by(cause: str) -> frozenset[str]:
    """Every cause that follows from ``cause``, however far."""
    found: set[str] = set()
    stack = [cause]
    while stack:
        row = table().get(stack.pop())
        for name in row.explains if row else ():
            if name not in found:
                found.add(name)
                stack.append(name)
    return frozenset(found)


def causes(results: Sequence[Result]) -> tuple[Cause, ...]:
    """The root causes of what was found, the likeliest and gravest first.

    A finding, or a check that could not look, whose cause another active cause explains goes into that one's ``also``.
    """
    active = sorted({r.cause for r in results if r.outcome == "found"})
    weight = {name: _weight(name, results) for name in active}
    follows = {  # what is surer or graver than another does not hide behind it
        name: [o for o in active if o != name and name in explained_by(o) and weight[o] <= weight[name]]
        for name in active
    }
    roots = [name for name in active if not follows[name]]
    made = [_cause(name, results) for name in roots]
    deep = {name: place for place, name in enumerate(table())}
    return tuple(
        sorted(
            made,
            key=lambda c: (_SEVERITY.index(c.severity), _CERTAINTY.index(c.certainty), deep.get(c.cause, -1), c.codes),
        )
    )


def _weight(name: str, results: Sequence[Result]) -> tuple[int, int]:
    """The severity that a cause will have and how sure it is; the smaller, the graver."""
    own = [r for r in results if r.cause == name and r.outcome == "found"]
    certainty = min(_CERTAINTY.index(f.certainty) for r in own for f in r.findings)
    severity = min(_SEVERITY.index(r.severity) for r in own)
    return (max(severity, 1) if certainty else severity), certainty


def _cause(name: str, results: Sequence[Result]) -> Cause:
    own = [r for r in results if r.cause == name and r.outcome == "found"]
    below = explained_by(name)
    also = [
        r.code
        for r in results
        if r.outcome in ("found", "unknown") and (r.cause in below or (r.cause == name and r not in own))
    ]
    findings: list[Finding] = [f for r in own for f in r.findings]
    certainty = min((f.certainty for f in findings), key=_CERTAINTY.index)
    severity = min((r.severity for r in own), key=_SEVERITY.index)
    if certainty != "certain" and severity == "error":
        severity = "warning"  # what the evidence cannot settle is not called an error
    return Cause(
        cause=name,
        codes=tuple(r.code for r in own),
        severity=severity,
        certainty=certainty,
        tell_apart=_unique(c for f in findings for c in f.tell_apart),
        because=_unique(f.message for f in findings),
        fix=_unique(c for f in findings for c in f.fix),
        also=tuple(also),
    )


def _unique(items: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(items))
