"""Results as text: one screen, causes first. Every value is cleaned of control characters before it reaches a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from provision import cause, check
from provision.cause import Cause
from provision.check import Result
from provision.errors import ProvisionError
from provision.fact import Absent, Missing, Snapshot
from provision.report.layout import clean
from provision.report.quantity import duration, pairs, size
from provision.report.run import Run

if TYPE_CHECKING:
    from provision.building import Image
    from provision.plan import Plan
    from provision.preview import Change
    from provision.render import Manifest
    from provision.undo import Undone


def error(problem: ProvisionError) -> str:
    """The message, and the next command on a line of its own."""
    lines = [clean(line) for line in problem.message.splitlines()]
    return "\n".join([*lines, *([f"Next: {clean(problem.next_command)}"] if problem.next_command else [])])


def doctor(machine: str, results: Sequence[Result], causes: Sequence[Cause]) -> str:
    """Causes first, then what could not be looked at, then the counts."""
    lines = [f"{clean(machine)}: {_verdict(causes)}", "", *_causes(causes)]
    blind = [r for r in results if r.outcome in ("unknown", "crashed")]
    if blind:
        lines.append("could not look:")
        lines += [f"  {r.code} {r.name}: {clean(r.reason)}" for r in blind]
        lines.append("")
    waived = [r for r in results if r.outcome == "accepted"]
    lines += [f"accepted: {r.code} {r.name}: {clean(r.reason)}" for r in waived]
    lines.append(", ".join(f"{count} {outcome}" for outcome, count in check.summary(results).items() if count))
    return "\n".join(lines) + "\n"


def facts(snapshot: Snapshot) -> str:
    """What is known, what is not there, and what could not be looked at."""
    lines = [clean(snapshot.machine)]
    for name, value in snapshot.facts.items():
        if isinstance(value, Absent):
            lines.append(f"  {name}: not there: {clean(value.reason)}")
        elif isinstance(value, Missing):
            lines.append(f"  {name}: COULD NOT LOOK: {clean(value.reason)}")
        else:
            lines.append(f"  {clean(str(value))[:200]}")
    return "\n".join(lines) + "\n"


def plan(made: Plan, directory: Path) -> str:
    """What the machine should be, in a few lines, and where the whole plan is."""
    lines = [
        f"plan {made.digest[:12]} for {clean(made.machine)}, model {clean(made.model)}",
        f"  accelerator  {made.cuda.accelerator}: {clean('; '.join(made.cuda.reasons))}",
        f"  engine       {made.dependencies.engine}, started by {made.dependencies.start}",
        f"  packages     {', '.join(made.dependencies.packages)}",
        f"  image        {made.rollout.image} from {made.dependencies.lock}",
        f"  proofs       {', '.join(p.code for p in made.proofs)}",
        f"  in           {directory}/plan.json",
    ]
    return "\n".join(lines) + "\n"


def manifest(rendered: Manifest, folder: Path) -> str:
    """The rendered files and what they become."""
    lines = [f"rendered from plan {rendered.plan[:12]} into {folder}"]
    lines += [f"  {f.destination}  {f.mode}  guarded by {', '.join(f.checks) or 'no check'}" for f in rendered.files]
    return "\n".join(lines) + "\n"


def built(image: Image) -> str:
    """The image and what it is made of."""
    state = "unchanged" if image.reused else "built"
    made_of = f"base {image.base} ({image.base_source}, {size(image.base_bytes)}), {image.wheels} wheels ({size(image.wheel_bytes)} unpacked)"  # noqa: E501
    return f"{image.reference}: {state}, {size(image.size_bytes)}\n  {made_of}\n"


def preview(changes: Sequence[Change]) -> str:
    """What will be done; files as unified diffs; what needs a name; what cannot be previewed and why."""
    if not changes:
        return "Nothing to change: the machine is what the plan says.\n"
    lines = ["What will be done:"]
    for one in changes:
        notes = [f"needs --allow {one.needs}"] if one.needs else []
        notes += [f"cannot be previewed: {clean(one.reason)}"] if not one.previewable else []
        lines.append(f"  {one.kind:8} {clean(one.what)}" + (f"  ({'; '.join(notes)})" if notes else ""))
        lines += [f"      {clean(line)}" for line in one.detail.splitlines()]
    return "\n".join(lines) + "\n"


def proofs(run: Run) -> str:
    """Every promised proof with the numbers it was held to and those that were measured."""
    lines = []
    for one in run.proofs:
        lines.append(
            f"{'proved    ' if one['proved'] else 'NOT PROVED'} {one['code']} {one['roadblock']}  {duration(one['seconds'])}"
        )
        for name, promised, measured in pairs(one["promised"], one["measured"]):
            said = [f"promised {clean(promised)}"] if promised else []
            said += [f"measured {clean(measured)}"] if measured else []
            lines.append(f"             {name}: {', '.join(said)}")
        if one.get("reason"):
            lines.append(f"             {clean(one['reason'])}")
    kept = sum(1 for p in run.proofs if p["proved"])
    lines.append(f"{kept} of {len(run.proofs)} promised proofs hold")
    if not run.gpu_ran:
        lines.append("GPU path: not yet run on hardware")
    return "\n".join(lines) + "\n"


def up(run: Run) -> str:
    """The end of ``provision up``: what was found, changed and proved, with numbers."""
    lines = ["", f"Found on {clean(run.machine)}: {_verdict(run.before)}", *_causes(run.before)]
    lines += ["Changed: " + (f"{len(run.changed)} of {len(run.changes)} managed things" if run.changed else "nothing")]
    lines += [f"  {c['kind']:8} {clean(c['what'])}  {clean(c['detail'])}".rstrip() for c in run.changed]
    if run.proofs:
        lines += ["Proved:", proofs(run)]
    if run.causes:
        lines += [f"Still found: {_verdict(run.causes)}", *_causes(run.causes)]
    lines.append("Seconds: " + ", ".join(f"{name} {took:.1f}" for name, took in run.seconds.items()))
    lines += [f"{name}: {clean(value)}" for name, value in run.about.items()]
    lines.append(f"Evidence: {run.directory} (report.html is the same with the facts)")
    return "\n".join(lines) + "\n"


def undone(what: Undone) -> str:
    """What was taken back, and what was kept with the reason."""
    lines = [f"Run {what.run} was taken back.", *(f"  taken back  {clean(line)}" for line in what.taken_back)]
    return "\n".join([*lines, *(f"  kept        {clean(line)}" for line in what.kept)]) + "\n"


def _verdict(causes: Iterable[Cause]) -> str:
    found = list(causes)
    if not found:
        return "nothing wrong"
    errors = sum(1 for c in found if c.severity == "error")
    return f"{errors} error(s), {len(found) - errors} other(s)"


def _causes(causes: Iterable[Cause]) -> list[str]:
    lines: list[str] = []
    for one in causes:
        row = cause.table().get(one.cause)
        lines.append(f"{one.severity}: {one.cause} ({', '.join(one.codes)}){': ' + row.line if row else ''}")
        lines += [f"    because  {clean(text)}" for text in one.because]
        lines += [f"    settle   {clean(text)}" for text in one.tell_apart]
        lines += [f"    fix      {clean(text)}" for text in one.fix]
        lines += [f"    also     {', '.join(one.also)}"] if one.also else []
    return [*lines, ""] if lines else []
