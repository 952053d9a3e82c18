"""A check turns facts into findings. It does no I/O.

The function's name and its docstring's first line state the bad state; its module says which obstacle it belongs
to; its annotations say which facts and plan sections it needs. A fact that is absent gives ``skipped``, one that is
missing gives ``unknown``, each with the probe's own reason; a check that raises gives ``crashed`` and hides nobody.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import re
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from provision.fact import NOT_PASTED, PASTED, Absent, Missing, Snapshot, needs_of
from provision.roadblock import BY_NAME

Severity = Literal["error", "warning", "note"]
Outcome = Literal["ok", "found", "unknown", "skipped", "crashed", "accepted"]
ERROR: Severity = "error"
WARNING: Severity = "warning"
NOTE: Severity = "note"
OUTCOMES: tuple[Outcome, ...] = ("ok", "found", "unknown", "skipped", "crashed", "accepted")


class NotApplicable(Exception):
    """Raised by a check that found it has nothing to judge here; the reason is shown."""


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong: a sentence with the numbers in it, the same numbers for programs, and the exact next commands.

    ``measured`` and ``needed`` hold base units with the unit in the key (``free_bytes``). ``certainty`` below
    ``certain`` needs ``tell_apart``: the commands whose answers would settle it. ``known``: the baseline has it already.
    """

    message: str
    measured: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    needed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    fix: tuple[str, ...] = ()
    certainty: Literal["certain", "likely", "possible"] = "certain"
    tell_apart: tuple[str, ...] = ()
    known: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """A registered check."""

    code: str
    severity: Severity
    cause: str
    function: Callable[..., Iterator[Finding]]
    needs: tuple[tuple[str, type, tuple[type, ...]], ...]
    roadblock: str

    @property
    def name(self) -> str:
        """``data-root-too-small``: the function's name."""
        return self.function.__name__.replace("_", "-")

    @property
    def page(self) -> str:
        """The docstring: title, what it means, ``## Fix``, ``## Proof``."""
        return inspect.getdoc(self.function) or ""

    @property
    def title(self) -> str:
        """The page's first line."""
        return self.page.splitlines()[0]


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """What one check said about one machine. ``waiver``: why a waiver in provision.toml has no effect on it.

    ``severity``: the check's own; a warning where no finding is certain, for what cannot be settled is no error.
    ``pasted``: judged from pasted text, which never states everything.
    """

    code: str
    name: str
    roadblock: str
    severity: Severity
    cause: str
    outcome: Outcome
    reason: str = ""
    findings: tuple[Finding, ...] = ()
    waiver: str = ""
    pasted: bool = False

    @property
    def known(self) -> bool:
        """It found something, and all of that was in the baseline already."""
        return self.outcome == "found" and bool(self.findings) and all(f.known for f in self.findings)

    def fails(self, strict: bool = False) -> bool:
        """A new finding that the exit code counts: an error, with ``strict`` a warning too."""
        bad = ("error", "warning") if strict else ("error",)
        return self.outcome == "found" and self.severity in bad and not self.known

    def blind(self, strict: bool = False) -> bool:
        """It crashed, or could not look although it matters: an error's check, with ``strict`` any.

        Whoever pastes a text asks what is wrong with what is there: what it does not state counts only with ``strict``.
        """
        grave = self.severity == "error" and not self.pasted
        return self.outcome == "crashed" or (self.outcome == "unknown" and (strict or grave))


CHECKS: dict[str, Check] = {}


def check(
    code: str, severity: Severity, *, cause: str
) -> Callable[[Callable[..., Iterator[Finding]]], Callable[..., Iterator[Finding]]]:
    """Register a check under ``code``; the module it stands in must be the obstacle of the code's prefix."""

    def register(function: Callable[..., Iterator[Finding]]) -> Callable[..., Iterator[Finding]]:
        roadblock = function.__module__.split("checks.", 1)[1].split(".")[0]
        if not re.fullmatch(rf"{BY_NAME[roadblock].prefix}\d{{3}}", code):
            raise TypeError(f"{code} does not belong in checks/{roadblock}.py")
        if code in CHECKS:
            raise TypeError(f"two checks are called {code}")
        CHECKS[code] = Check(code, severity, cause, function, needs_of(function), roadblock)
        return function

    return register


def load() -> None:
    """Register every fact and every check."""
    from provision import checks, facts

    facts.load()
    for module in pkgutil.walk_packages(checks.__path__, f"{checks.__name__}."):
        importlib.import_module(module.name)


def run(
    snapshot: Snapshot,
    sections: Mapping[type, Any],
    accepted: Mapping[str, str] | None = None,
    codes: Sequence[str] | None = None,
    expired: Mapping[str, str] | None = None,
    pasted: bool = False,
) -> tuple[Result, ...]:
    """Judge a snapshot against the plan.

    ``sections`` maps a section's type (``provision.plan.Storage``, ``provision.spec.Spec`` …) to its value, or to
    ``Missing`` where no plan could be made. ``accepted`` maps a code to the reason it is waived, ``expired`` to what is
    to be said of a waiver that no longer holds. ``pasted``: the snapshot is what a text states. Sorted by code.
    """
    chosen = sorted(CHECKS) if codes is None else sorted(codes)
    return tuple(
        dataclasses.replace(
            _judge(CHECKS[code], snapshot, sections, (accepted or {}).get(code, ""), (expired or {}).get(code, "")),
            pasted=pasted,
        )
        for code in chosen
    )


def _judge(one: Check, snapshot: Snapshot, sections: Mapping[type, Any], waived: str, expired: str) -> Result:
    def result(outcome: Outcome, reason: str = "", findings: tuple[Finding, ...] = ()) -> Result:
        if waived and outcome in ("found", "unknown"):
            outcome, reason = "accepted", f"{waived}" + (f" (could not look: {reason})" if reason else "")
        idle = f"nothing to waive now: {waived}" if waived and outcome != "accepted" else ""
        unsettled = bool(findings) and all(f.certainty != "certain" for f in findings)
        severity = WARNING if unsettled and one.severity == ERROR else one.severity
        return Result(
            one.code, one.name, one.roadblock, severity, one.cause, outcome, reason, findings, expired or idle
        )

    given: dict[str, Any] = {}
    for parameter, kind, tolerated in one.needs:
        value = sections[kind] if kind in sections else snapshot.get(kind)
        if isinstance(value, (Absent, Missing)) and not (isinstance(value, tuple(tolerated)) and _may_lack(one, value)):
            return result("skipped" if isinstance(value, Absent) else "unknown", value.reason)
        given[parameter] = value
    findings: list[Finding] = []
    try:
        for finding in one.function(**given):
            findings.append(finding)
    except NotApplicable as reason:
        return result("skipped", str(reason))
    except Absent as reason:
        return result("skipped", reason.reason)
    except Missing as reason:
        return result("found" if findings else "unknown", reason.reason, tuple(findings))
    except Exception as error:  # our bug: said, counted, and never hides a neighbour
        return result("crashed", f"{type(error).__name__}: {error}; please report this with 'provision facts --share'")
    return result("found", findings=tuple(findings)) if findings else result("ok")


def _may_lack(one: Check, value: Absent | Missing) -> bool:
    """Whether a check that bears not knowing a fact may judge without it.

    A fact that could not be looked at can be a bad sign in itself (a driver that gives no answer). That a pasted text
    does not state it is none: there only a check goes on that asks for pasted facts too, and so knows the difference.
    """
    return value.reason != NOT_PASTED or any(kind.__name__ in PASTED for _, kind, _ in one.needs)


def summary(results: Sequence[Result]) -> dict[str, int]:
    """How many results there are of every outcome."""
    return {outcome: sum(r.outcome == outcome for r in results) for outcome in typing.get_args(Outcome)}


def exit_code(results: Sequence[Result], strict: bool = False) -> int:
    """1: new findings of severity error (``strict``: warning too). 3: could not look or crashed. 0: neither."""
    if any(r.fails(strict) for r in results):
        return 1
    return 3 if any(r.blind(strict) for r in results) else 0
