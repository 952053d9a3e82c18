"""The stages that change a machine, alone and in order. Each holds the machine while it works."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from provision import apply as applying
from provision import check, consent, evidence, leftovers, preview, road, roles, rundir
from provision.errors import ChangeError, ProvisionError
from provision.fact import Snapshot
from provision.host import LocalHost
from provision.plan import Plan
from provision.playbook import TaskResult
from provision.progress import say
from provision.render import Manifest
from provision.road import Diagnosis
from provision.rundir import RunDirectory
from provision.spec import Spec

ROUNDS = 3  # how often a plan may change under our hands before that itself is the message


def run_of(spec: Spec, name: str | None) -> RunDirectory:
    """A run of this machine."""
    return rundir.find(spec.machine.name or os.uname().nodename, name)


def render_run(run: RunDirectory) -> tuple[Manifest, Path]:
    """Render a run's plan into its ``rendered/``."""
    from provision.render import render

    rendered = run.path / "rendered"
    return render(run.plan(), rendered), rendered


def build_run(run: RunDirectory) -> Any:
    """Build a run's image and note it in the evidence where the run changed the machine."""
    from provision import building

    made, rendered = run.plan(), run.path / "rendered"
    if not (rendered / "manifest.json").exists():
        render_run(run)
    snapshot = Snapshot.from_json(run.read("facts.json", "provision plan"), str(run.path / "facts.json"))
    with leftovers.holding(run.path.parent):
        built = building.build(made, rendered, snapshot)
    run.write("image.json", built)
    if evidence.read_after(run.path) is not None:
        for name in built.made:
            evidence.note_image(run.path, name)
    return built


class Journey:
    """What one ``up`` or ``apply`` has seen and done so far, for its report."""

    def __init__(self, spec: Spec, run: RunDirectory, seen: Diagnosis) -> None:
        self.spec = spec
        self.run = run
        self.seen = seen
        self.before = seen.causes
        self.changes: list[dict[str, Any]] = []
        self.proofs: tuple[dict[str, Any], ...] = ()
        self.seconds: dict[str, float] = {}
        self.about: dict[str, str] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage and say that it began."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - started, 2)

    def report(self) -> Any:
        """The run as the reports take it."""
        from provision.report.run import Run

        plan = self.seen.plan
        on_gpu = isinstance(plan, Plan) and plan.cuda.device == "cuda"
        return Run(
            machine=self.spec.machine.name or self.seen.snapshot.machine,
            results=self.seen.results,
            causes=self.seen.causes,
            before=self.before,
            changes=self.changes,  # type: ignore[arg-type]
            proofs=self.proofs,  # type: ignore[arg-type]
            seconds=self.seconds,
            gpu_ran=on_gpu and any(p["proved"] and p["code"] == "CUD-P2" for p in self.proofs),
            directory=str(self.run.path),
            about=self.about,
            facts=self.seen.snapshot,
            serving=self.seen.serving,
        )

    def finish(self, code: int) -> int:
        """Write the evidence of how it ended, and the page."""
        from provision.report import html

        self.run.write("findings.json", self.seen.findings(self.report().machine))
        self.run.write_lines("proof.jsonl", self.proofs)
        self.run.write_text("report.html", html.page(self.report()))
        road.note(self.run, ended=road.now(), exit=code)
        return code


def up(spec: Spec, *, yes: bool, allow: frozenset[str]) -> int:
    """Everything, in order. 0 when every promised proof holds and no error finding remains."""
    from provision.report import out, text

    applying.need_root(LocalHost())
    with leftovers.holding(rundir.runs(spec.machine.name or os.uname().nodename)):
        journey = _begin(spec, "up")
        with _noting_errors(journey.run):
            plan, rendered = _agree(journey, yes=yes, allow=allow, command="provision up")
            _apply(journey, plan, rendered, None)
            _build(journey, plan, rendered)
            _prove(journey, plan)
            code = _code(journey)
            journey.finish(code)
            out.emit(text.up(journey.report(), out.style()))
    return code


def apply_run(run: RunDirectory, spec: Spec, *, only: str | None, yes: bool, allow: frozenset[str]) -> int:
    """Apply a run's plan if the machine is still the one it was made for."""
    from provision.report import out, text

    roles.tags(only)  # refuses a name that is none
    applying.need_root(LocalHost())
    with leftovers.holding(run.path.parent):
        planned = run.plan()
        journey = _begin(spec, "apply", run)
        if (now := road.plan_of(journey.seen)).digest != planned.digest:
            raise ChangeError(
                f"the machine has changed since run {run.number} was planned "
                f"(plan {planned.digest[:12]}, now {now.digest[:12]}); "
                "nothing was changed",
                "provision plan",
            )
        road.note(run, command="apply", ended="")
        with _noting_errors(run):
            command = f"provision apply --only {only}" if only else "provision apply"
            plan, rendered = _agree(journey, yes=yes, allow=allow, command=command, only=only)
            _apply(journey, plan, rendered, only)
        road.note(run, ended=road.now(), exit=0)
        out.emit(text.up(journey.report(), out.style()))
    return 0


def undo_run(run: RunDirectory) -> int:
    """Take back what a run changed."""
    from provision import undo
    from provision.report import out, text

    with leftovers.holding(run.path.parent):
        undone = undo.undo(run.path, _remove_image)
        road.note(run, undone=road.now())
    out.emit(text.undone(undone))
    return 0


def _remove_image(name: str) -> None:
    import docker.errors

    from provision import engine

    with engine.talking(f"removing {name}"), contextlib.suppress(docker.errors.ImageNotFound):  # gone: as wanted
        engine.engine().images.remove(name)


def verify_run(run: RunDirectory, spec: Spec) -> int:
    """The proofs of a run's plan, and the machine looked at again."""
    from provision.report import out, text

    with leftovers.holding(run.path.parent):
        journey = Journey(spec, run, _look(spec))
        plan = run.plan()
        with _noting_errors(run):
            _prove(journey, plan)
        code = journey.finish(_code(journey))
        out.emit(text.proofs(journey.report(), out.style()))
    return code


def verify_here(spec: Spec) -> int:
    """The proofs with the torch of this environment: no container, no network, nothing changed."""
    from provision import verify
    from provision.report import out, text

    journey = _begin(spec, "verify --here")
    plan = road.plan_of(journey.seen)
    with _noting_errors(journey.run), journey.stage("verify"):
        journey.proofs = verify.here(plan)
    code = journey.finish(0 if all(p["proved"] for p in journey.proofs) else 1)
    out.emit(text.proofs(journey.report(), out.style()))
    return code


def _look(spec: Spec) -> Diagnosis:
    snapshot = road.look(spec=spec)
    return road.diagnose(snapshot, spec, road.previous_plan(snapshot, spec))


def _begin(spec: Spec, command: str, run: RunDirectory | None = None) -> Journey:
    say("looking at this machine")
    started = time.monotonic()
    seen = _look(spec)
    journey = Journey(spec, run or road.start_run(seen, spec, command), seen)
    journey.seconds["facts and doctor"] = round(time.monotonic() - started, 2)
    return journey


def _agree(
    journey: Journey, *, yes: bool, allow: frozenset[str], command: str, only: str | None = None
) -> tuple[Plan, Path]:
    """Show what will be done until there is a yes to exactly the plan that the machine, looked at again, still gives."""
    for _ in range(ROUNDS):
        plan = road.plan_of(journey.seen)
        _ask(journey, plan, yes=yes, allow=allow, command=command, only=only)
        journey.seen = _look(journey.spec)
        if road.plan_of(journey.seen).digest == plan.digest:
            return plan, journey.run.path / "rendered"
        say("the machine changed while we were asking; this is the new plan")
        journey.run.write("plan.json", road.plan_of(journey.seen))
    raise ChangeError(f"the machine's plan changed {ROUNDS} times in a row; nothing was changed", "provision plan")


def _ask(journey: Journey, plan: Plan, *, yes: bool, allow: frozenset[str], command: str, only: str | None) -> None:
    from provision.report import out, text

    with journey.stage("render and preview"):
        manifest, rendered = render_run(journey.run)
        host = LocalHost()
        present = evidence.look(host, manifest, plan)
        ours = evidence.ours(journey.run.path.parent)
        wanted = applying.wanted(rendered, manifest)
        changes = preview.preview(plan, journey.seen.snapshot, manifest, wanted, present, ours, roles.tags(only))
        foreseen = applying.check_mode(rendered, plan, journey.seen.snapshot, host, only) if changes else ()
    journey.run.write("preview.json", {"schema": 1, "changes": changes, "ansible_check": foreseen})
    out.emit(text.preview(changes, out.style()))
    terminal = sys.stdin.isatty() and sys.stderr.isatty()
    answer = consent.decide(changes, journey.seen.snapshot, terminal=terminal, yes=yes, allow=allow, ours=ours)
    agreed = answer.go or (bool(answer.ask) and not answer.refused and _yes(answer.ask))
    if not agreed:
        raise (answer.error(command) if answer.refused else ChangeError("you said no; nothing was changed", command))
    road.note(journey.run, plan=plan.digest, consent={"terminal": terminal, "yes": yes, "allow": sorted(allow)})


def _yes(question: str) -> bool:
    import click

    return click.confirm(question, default=False, err=True)


def _apply(journey: Journey, plan: Plan, rendered: Path, only: str | None) -> None:
    with journey.stage("apply"):
        done = applying.apply(rendered, journey.run.path, plan, journey.seen.snapshot, only)
    road.note(journey.run, applied=road.now())
    journey.changes += [
        {"what": r.what, "kind": r.kind, "changed": r.changed, "detail": _detail(r, done), "diff": r.diff}
        for r in done.results
        if r.kind and not r.skipped
    ]
    journey.about["ansible"] = ", ".join(f"{k}={v}" for k, v in sorted(done.stats.items()))
    journey.run.write("plan.json", plan)


def _detail(result: TaskResult, done: applying.Applied) -> str:
    """One line about a change. What apt says there is its own chatter; how many packages came is what counts."""
    return f"{len(done.added)} packages with what they stand on" if result.kind == "package" else result.message


def _build(journey: Journey, plan: Plan, rendered: Path) -> None:
    from provision import building

    with journey.stage("build"):
        built = building.build(plan, rendered, journey.seen.snapshot)
    journey.run.write("image.json", built)
    detail = f"{built.size_bytes >> 20} MiB from {built.wheels} wheels on {built.base} ({built.base_source})"
    journey.changes.append({"what": built.reference, "kind": "image", "changed": not built.reused, "detail": detail})
    for name in built.made:
        evidence.note_image(journey.run.path, name)


def _prove(journey: Journey, plan: Plan) -> None:
    from provision import verify

    with journey.stage("verify"):
        journey.proofs = verify.in_container(plan)
    with journey.stage("facts and doctor"):
        journey.seen = _look(journey.spec)


def _code(journey: Journey) -> int:
    return 0 if all(p["proved"] for p in journey.proofs) and check.exit_code(journey.seen.results) != 1 else 1


@contextmanager
def _noting_errors(run: RunDirectory) -> Iterator[None]:
    """However it ends, the run directory says how."""
    try:
        yield
    except ProvisionError as error:
        road.note(run, ended=road.now(), exit=error.exit_code, error=error.message)
        raise
    except KeyboardInterrupt:
        road.note(run, ended=road.now(), exit=130, error="interrupted")
        raise


__all__ = ["apply_run", "build_run", "render_run", "run_of", "undo_run", "up", "verify_here", "verify_run"]
