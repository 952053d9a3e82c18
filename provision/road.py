"""The stages that look and think: from facts to a diagnosis and a plan. Nothing here changes a machine.

The stages that change one are in ``provision.up``.
"""

from __future__ import annotations

import dataclasses
import datetime
import getpass
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from provision import __version__, cause, check, codec, fact, facts, plan, rundir
from provision.errors import UsageError
from provision.fact import NOT_PASTED, Missing, NotKnown, Snapshot
from provision.host import LocalHost
from provision.plan import Plan
from provision.roadblock import BY_NAME
from provision.rundir import RunDirectory
from provision.spec import Spec


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    """What was seen on a machine, what it should be (or why no plan could be made), and what is wrong."""

    snapshot: Snapshot
    plan: Plan | NotKnown
    results: tuple[check.Result, ...]
    causes: tuple[cause.Cause, ...]

    def findings(self, machine: str) -> dict[str, Any]:
        """The contract's JSON of ``provision doctor``."""
        from provision.report import machine as document

        return document.document(machine, self.results, self.causes)


def look(only: Iterable[str] | None = None) -> Snapshot:
    """Take the facts of this machine."""
    facts.load()
    return fact.collect(LocalHost(), os.uname().nodename, __version__, only)


def read_snapshot(path: str) -> Snapshot:
    """A snapshot from a file, or from standard input for ``-``."""
    facts.load()
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
        return Snapshot.from_json(json.loads(text), path)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: not a snapshot: {error}", "provision facts -o FILE") from None


def previous_plan(snapshot: Snapshot, spec: Spec) -> Plan | None:
    """The plan last applied to this machine from this folder."""
    return rundir.last_applied(spec.machine.name or snapshot.machine)


def diagnose(
    snapshot: Snapshot, spec: Spec, previous: Plan | None = None, codes: Iterable[str] | None = None
) -> Diagnosis:
    """Plan, then judge the snapshot against the plan."""
    check.load()
    made: Plan | NotKnown
    try:
        made = plan.make(snapshot, spec, previous)
    except NotKnown as reason:
        made = Missing(reason.reason)
    chosen = None if codes is None else tuple(codes)
    results = check.run(snapshot, plan.sections(made, spec), spec.accepted(), chosen)
    return Diagnosis(snapshot=snapshot, plan=made, results=results, causes=cause.causes(results))


def diagnose_pasted(snapshot: Snapshot, spec: Spec, codes: Iterable[str] | None = None) -> Diagnosis:
    """Judge what was pasted. No plan is made: a text says too little of a machine to say what it should be."""
    check.load()
    unplanned = Missing(NOT_PASTED)
    sections: dict[type, Any] = {Spec: spec, **dict.fromkeys(plan.SECTIONS, unplanned)}
    results = check.run(snapshot, sections, spec.accepted(), None if codes is None else tuple(codes))
    return Diagnosis(snapshot=snapshot, plan=unplanned, results=results, causes=cause.causes(results))


def choose(select: Iterable[str], ignore: Iterable[str]) -> tuple[str, ...]:
    """Codes that the words select: a code, a prefix of codes, a check's name or an obstacle's."""
    check.load()
    chosen = {c for word in select for c in _matching(word)} if (select := tuple(select)) else set(check.CHECKS)
    return tuple(sorted(chosen - {c for word in ignore for c in _matching(word)}))


def _matching(word: str) -> set[str]:
    found = {c.code for c in check.CHECKS.values() if word in (c.name, c.roadblock) or c.code.startswith(word.upper())}
    if not found:
        known = {*check.CHECKS, *BY_NAME, *(c.name for c in check.CHECKS.values())}
        raise UsageError(f"no check is called {word!r}{codec.nearest(word, known)}", "provision explain --all")
    return found


def start_run(diagnosis: Diagnosis, spec: Spec, command: str) -> RunDirectory:
    """A new run directory with the facts, the findings and, where there is one, the plan."""
    machine = spec.machine.name or diagnosis.snapshot.machine
    run = rundir.new(machine)
    run.write("facts.json", diagnosis.snapshot.to_json())
    run.write("findings.json", diagnosis.findings(machine))
    run.write("spec.json", spec)
    if isinstance(diagnosis.plan, Plan):
        run.write("plan.json", diagnosis.plan)
    note(run, command=command, machine=machine, plan=diagnosis.plan.digest if isinstance(diagnosis.plan, Plan) else "")
    return run


def note(run: RunDirectory, **what: Any) -> dict[str, Any]:
    """Add to ``run.json``: who, when, the plan's hash, the tool's version, and what is given."""
    path = run.path / "run.json"
    if path.exists():
        content = json.loads(path.read_text(encoding="utf-8"))
    else:
        content = {
            "schema": rundir.SCHEMA,
            "run": run.number,
            "tool_version": __version__,
            "who": {"user": _user(), "sudo_user": os.environ.get("SUDO_USER", "")},
            "started": now(),
        }
    content |= what
    run.write("run.json", content)
    return dict(content)


def now() -> str:
    """The time, UTC, to the second: only ``run.json`` and evidence carry one."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's uid without a passwd entry
        return str(os.geteuid())


def plan_of(diagnosis: Diagnosis) -> Plan:
    """The plan, or the reason there is none as a message."""
    if isinstance(diagnosis.plan, NotKnown):
        raise UsageError(f"no plan could be made: {diagnosis.plan.reason}", "provision doctor")
    return diagnosis.plan
