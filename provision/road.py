"""The stages that look and think: from facts to a diagnosis and a plan. Nothing here changes a machine.

The stages that change one are in ``provision.up``.
"""

from __future__ import annotations

import datetime
import getpass
import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from provision import __version__, cause, check, codec, fact, facts, plan, rundir
from provision.errors import UsageError
from provision.fact import NOT_PASTED, Missing, NotKnown, Snapshot
from provision.host import LocalHost
from provision.plan import Plan, Serving
from provision.record import record
from provision.roadblock import BY_NAME
from provision.rundir import RunDirectory
from provision.spec import Spec


@record
class Diagnosis:
    """What was seen on a machine, what it should be (or why no plan could be made), and what is wrong."""

    snapshot: Snapshot
    plan: Plan | NotKnown
    results: tuple[check.Result, ...]
    causes: tuple[cause.Cause, ...]

    @property
    def serving(self) -> Serving | None:
        """How the model of provision.toml is to be served; None for the bundled one and where it cannot be said."""
        return self.plan.gpu_memory.serving if isinstance(self.plan, Plan) else None

    def findings(self, machine: str) -> dict[str, Any]:
        """The contract's JSON of ``provision doctor``."""
        from provision.report import machine as document

        return document.document(machine, self.results, self.causes)


def look(only: Iterable[str] | None = None, spec: Spec | None = None, files: bool = False) -> Snapshot:
    """Take the facts of this machine, and of the environment that ``spec`` names a lock for.

    ``files``: hash the files of installed packages too, after all else: it takes seconds where the rest takes none.
    """
    facts.load()
    asked: dict[str, tuple[str, ...]] = {}
    if spec and spec.dependencies.lock:
        asked["environment"] = (spec.dependencies.environment,)
    snapshot = fact.collect(LocalHost(asked), os.uname().nodename, __version__, only)
    return _with_files(snapshot, asked) if files else snapshot


def _with_files(snapshot: Snapshot, asked: dict[str, tuple[str, ...]]) -> Snapshot:
    from provision.facts import installed_files
    from provision.progress import say

    say("hashing the files of installed Python packages")
    host = LocalHost(asked | {"files": ("all",)})
    name = installed_files.InstalledFiles.__name__
    more = fact.collect(
        host, snapshot.machine, snapshot.tool_version, [name], installed_files.SECONDS + fact.SILENCE_SECONDS
    )
    found = more.get(installed_files.InstalledFiles)
    for line in installed_files.words(found):
        say(line)
    return Snapshot(snapshot.machine, {**snapshot.facts, name: found}, snapshot.tool_version)


def read_snapshot(path: str) -> Snapshot:
    """A snapshot from a file, or from standard input for ``-``."""
    facts.load()
    try:
        data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        what = (error.strerror or str(error)).lower()
        raise UsageError(f"{path}: not a snapshot: {what}", "provision facts -o FILE") from None
    return parse_snapshot(data, path)


def parse_snapshot(data: bytes, origin: str) -> Snapshot:
    """A snapshot from a file's bytes; ``origin`` names it in errors. Raises ``UsageError``. Facts must be registered."""
    try:
        content = json.loads(data.decode())
    except RecursionError:  # "[[[[…": deeper than any snapshot
        raise UsageError(f"{origin}: not a snapshot: nested too deeply", "provision facts -o FILE") from None
    except ValueError as error:
        said = "it is empty" if not data.strip() else f"no JSON: {error}"
        pasted = "provision facts -o FILE; pasted output goes to 'provision doctor --from', an error log to '--log'"
        raise UsageError(f"{origin}: not a snapshot: {said}", pasted) from None
    return Snapshot.from_json(content, origin)


def previous_plan(snapshot: Snapshot, spec: Spec) -> Plan | None:
    """The plan last applied to this machine from this folder."""
    return rundir.last_applied(spec.machine.name or snapshot.machine)


def diagnose(
    snapshot: Snapshot,
    spec: Spec,
    previous: Plan | None = None,
    codes: Iterable[str] | None = None,
    today: str | None = None,
) -> Diagnosis:
    """Plan, then judge the snapshot against the plan. ``today`` (``2026-11-24``) ends waivers; None: by this clock.

    Raises ``UsageError`` where provision.toml waives a check that does not exist: a misspelt waiver must not go unseen.
    """
    check.load()
    for entry in spec.accept:
        if entry.code not in check.CHECKS:
            near = codec.nearest(entry.code, check.CHECKS)
            raise UsageError(
                f"provision.toml waives {entry.code!r}, which is no check's code{near}", "provision explain"
            )
    today = today or now()[:10]
    made: Plan | NotKnown
    try:
        made = plan.make(snapshot, spec, previous)
    except NotKnown as reason:
        made = Missing(reason.reason)
    chosen = None if codes is None else tuple(codes)
    results = check.run(snapshot, plan.sections(made, spec), spec.accepted(today), chosen, spec.expired(today))
    return Diagnosis(snapshot=snapshot, plan=made, results=results, causes=cause.causes(results))


def judge(
    spec: Spec,
    codes: Iterable[str] | None = None,
    facts_path: str | None = None,
    dumps: Sequence[str] = (),
    logs: Sequence[str] = (),
    files: bool = False,
) -> Diagnosis:
    """This machine, or a snapshot, or pasted dumps and logs: then this machine is not looked at.

    ``files``: hash the files of installed packages too. Raises ``UsageError`` where there is no machine to do it on.
    """
    if files and (dumps or logs or facts_path):
        raise UsageError("--files hashes files of this machine; expected it without --facts, --from and --log")
    if dumps or logs:
        from provision.paste import source

        return diagnose_pasted(source.read(dumps, logs, facts_path), spec, codes, now()[:10])
    if facts_path:
        return diagnose(read_snapshot(facts_path), spec, None, codes)
    snapshot = look(spec=spec, files=files)
    return diagnose(snapshot, spec, previous_plan(snapshot, spec), codes)


def diagnose_pasted(snapshot: Snapshot, spec: Spec, codes: Iterable[str] | None, today: str) -> Diagnosis:
    """Judge what was pasted; ``today`` ends waivers.

    No plan is made: a text says too little of a machine to say what it should be.
    """
    check.load()
    unplanned = Missing(NOT_PASTED)
    sections: dict[type, Any] = {Spec: spec, **dict.fromkeys(plan.SECTIONS, unplanned)}
    chosen = None if codes is None else tuple(codes)
    results = check.run(snapshot, sections, spec.accepted(today), chosen, spec.expired(today), pasted=True)
    return Diagnosis(snapshot=snapshot, plan=unplanned, results=results, causes=cause.causes(results))


def choose(select: Iterable[str], ignore: Iterable[str]) -> tuple[str, ...]:
    """Codes that the words select: a code, a prefix of codes, a check's name, an obstacle's or a cause's; or several, ``A,B``."""
    check.load()
    chosen = {c for word in _words(select) for c in _matching(word)} if (select := tuple(select)) else set(check.CHECKS)
    return tuple(sorted(chosen - {c for word in _words(ignore) for c in _matching(word)}))


def _words(given: Iterable[str]) -> list[str]:
    return [word.strip() for several in given for word in several.split(",")]


def _matching(word: str) -> set[str]:
    checks = check.CHECKS.values()
    found = {c.code for c in checks if word in (c.name, c.roadblock, c.cause) or c.code.startswith(word.upper())}
    if not found or not word:
        known = {*check.CHECKS, *BY_NAME, *(c.name for c in checks), *(c.cause for c in checks)}
        raise UsageError(f"no check is called {word!r}{codec.nearest(word, known)}", "provision explain --all")
    return found


def start_run(diagnosis: Diagnosis, spec: Spec, command: str) -> RunDirectory:
    """A new run directory with the facts, the findings and, where there is one, the plan."""
    machine = spec.machine.name or diagnosis.snapshot.machine
    run = rundir.new(machine)
    digest = diagnosis.plan.digest if isinstance(diagnosis.plan, Plan) else ""
    note(run, command=command, machine=machine, plan=digest)  # first: a run that is killed says what it was
    run.write("facts.json", diagnosis.snapshot.to_json())
    run.write("findings.json", diagnosis.findings(machine))
    run.write("spec.json", {"schema": rundir.SCHEMA} | codec.dump(spec))
    if isinstance(diagnosis.plan, Plan):
        run.write("plan.json", diagnosis.plan)
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
