"""Results as text, causes first. A value is cleaned of what a terminal would act on before it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from provision import check, codec
from provision.cause import Cause
from provision.check import Result
from provision.errors import ProvisionError
from provision.fact import Absent, Missing, Snapshot
from provision.report.diagnosis import blind_block, cause_block, line_of, verdict, waived_block
from provision.report.layout import PLAIN, Style, clean, plural, prose, table
from provision.report.quantity import duration, pairs, quantity, size
from provision.report.run import GPU_NOT_RUN, Proof, Run

if TYPE_CHECKING:
    from provision.building import Image
    from provision.plan import Plan, Serving, ServingLock
    from provision.preview import Change
    from provision.render import Manifest
    from provision.undo import Undone

FACT_WIDTH = 160  # characters of one fact in the short text; the whole is in facts.json
GROUPS = (
    *(("folder", "folders"), ("disk", "disks"), ("mount", "mounts"), ("model", "model"), ("file", "files")),
    *(("package", "packages"), ("unit", "units"), ("image", "image")),
)


def error(problem: ProvisionError, style: Style = PLAIN) -> str:
    """The message, and the next command on a line of its own. No final newline: whoever writes it adds one."""
    first, *rest = [clean(line) for line in problem.message.splitlines()] or [type(problem).__name__]
    lines = [f"{style.paint('provision', 'bad')}: {first}", *rest]
    return "\n".join([*lines, *([f"next: {clean(problem.next_command)}"] if problem.next_command else [])])


def doctor(machine: str, results: Sequence[Result], causes: Sequence[Cause], style: Style = PLAIN) -> str:
    """One screen: causes first, then what could not be looked at, then what is waived, the counts last."""
    lines = [f"{style.paint(clean(machine), 'head')}: {verdict(causes, results)}", ""]
    for one in causes:
        lines += cause_block(one, results, style)
    lines += blind_block(results, causes, style)
    lines += waived_block(results, style)
    lines.append(", ".join(f"{count} {outcome}" for outcome, count in check.summary(results).items()))
    return "\n".join(lines) + "\n"


def facts(snapshot: Snapshot) -> str:
    """One line a fact: what is known (short), what is not there, what could not be looked at."""
    rows: list[tuple[str, ...]] = []
    for name, value in snapshot.facts.items():
        if isinstance(value, Absent):
            rows.append((name, f"not there: {value.reason}"))
        elif isinstance(value, Missing):
            rows.append((name, f"COULD NOT LOOK: {value.reason}"))
        else:
            known = quantity("", codec.dump(value))
            rows.append((name, known if len(known) <= FACT_WIDTH else f"{known[:FACT_WIDTH]}…"))
    head = f"{clean(snapshot.machine)}, looked at by provision {clean(snapshot.tool_version)}"
    return "\n".join([head, *table(rows)]) + "\n"


def plan(made: Plan, directory: Path) -> str:
    """What the machine should be, in a few lines, and where the whole plan is."""
    rows = [
        ("accelerator", made.cuda.accelerator),
        *(("because", reason) for reason in made.cuda.reasons),
        ("engine", f"{made.dependencies.engine}, started by {made.dependencies.start}"),
        ("packages", ", ".join(made.dependencies.packages)),
        ("image", f"{made.rollout.image} from {made.dependencies.lock}"),
        *_serving(made.gpu_memory.serving, made.gpu_memory.unserved),
        *_serving_lock(made.dependencies.serving),
        *(("way out", way) for way in made.way_out),
        ("proofs", ", ".join(p.code for p in made.proofs)),
        ("in", f"{directory}/plan.json"),
    ]
    head = f"plan {made.digest[:12]} for {clean(made.machine)}, model {clean(made.model)}"
    return "\n".join([head, *table(rows)]) + "\n"


def _serving_lock(found: ServingLock | None) -> list[tuple[str, str]]:
    """The lock that serves the model, and why it, or what would give one."""
    if found is None:
        return []
    head = f"{found.engine} from {found.lock}" if found.lock else f"no lock serves it with {found.engine}"
    return [("served by", head), *(("because", reason) for reason in found.reasons)]


def _serving(served: Serving | None, why_not: str) -> list[tuple[str, str]]:
    """How the planned model is served, and why so."""
    if served is None:
        return [("serving", f"cannot be said: {why_not}")] if why_not else []
    gpus = f"{served.ranks} of {plural(served.gpus, 'GPU')} ({served.gpu})"
    rows = [("serving", f"{served.precision} with {served.engine} on {gpus}: {served.verdict}")]
    rows += [("because", served.refused)] if served.refused else []
    rows += [("because", reason) for reason in served.reasons]
    if served.options:
        rows.append(("options", " ".join(served.options)))
    if use := served.card:
        rows.append(("each GPU", ", ".join(f"{name} {size(held)}" for name, held in use.parts.items() if held)))
    rows += [("instead", ", ".join(served.instead))] if served.instead else []
    return rows + [("assumed", one) for one in served.assumed]


def manifest(rendered: Manifest, folder: Path) -> str:
    """The rendered files and what they become."""
    rows = [(f.destination, f.mode, f"guarded by {', '.join(f.checks) or 'no check'}") for f in rendered.files]
    return "\n".join([f"rendered from plan {rendered.plan[:12]} into {clean(str(folder))}", *table(rows)]) + "\n"


def built(image: Image) -> str:
    """The image and what it is made of."""
    state = "unchanged" if image.reused else "built"
    base = f"base {clean(image.base)} ({image.base_source}, {size(image.base_bytes)})"
    wheels = f"{plural(image.wheels, 'wheel')} ({size(image.wheel_bytes)} unpacked)"
    return f"{clean(image.reference)}: {state}, {size(image.size_bytes)}\n  {base}, {wheels}\n"


def preview(changes: Sequence[Change], style: Style = PLAIN) -> str:
    """What will be done in groups, files as unified diffs; then what needs a name, and what cannot be previewed."""
    if not changes:
        return "Nothing to change: the machine is what the plan says.\n"
    known = {kind for kind, _ in GROUPS}
    others = sorted({c.kind for c in changes} - known)
    lines = [f"{style.paint('What will be done', 'head')}: {plural(len(changes), 'change')}"]
    for kind, heading in (*GROUPS, *((other, other) for other in others)):
        those = [c for c in changes if c.kind == kind]
        if those:
            lines += ["", style.paint(f"{heading} ({len(those)})", "head")]
        for one in those:
            lines += _change(one, style)
    if named := sorted({c.needs for c in changes if c.needs}):
        lines += ["", style.paint("needs a yes by name", "head")]
        lines += table([(f"--allow {n}", ", ".join(c.what for c in changes if c.needs == n)) for n in named])
    if opaque := [c for c in changes if not c.previewable]:
        lines += ["", style.paint("cannot be previewed", "head")]
        lines += table([(f"{c.kind} {c.what}", c.reason) for c in opaque])
    return "\n".join(lines) + "\n"


def _change(one: Change, style: Style) -> list[str]:
    detail = one.detail.splitlines()
    if len(detail) <= 1:
        return table([(one.what, detail[0])]) if detail else [f"  {clean(one.what)}"]
    return [f"  {clean(one.what)}", *(f"      {_diff_line(line, style)}" for line in detail)]


def _diff_line(line: str, style: Style) -> str:
    role = {"+": "good", "-": "bad"}.get(line[:1], "")
    return style.paint(clean(line), role) if role else clean(line)


def proofs(run: Run, style: Style = PLAIN) -> str:
    """Every promised proof with the numbers it was held to and those that were measured."""
    lines = [line for one in run.proofs for line in _proof(one, style)]
    kept = len(run.proofs) - len(run.unproved)
    lines.append(f"{kept} of {len(run.proofs)} promised proofs hold" if run.proofs else "nothing was proved")
    lines += [] if run.gpu_ran else [GPU_NOT_RUN]
    return "\n".join(lines) + "\n"


def _proof(one: Proof, style: Style) -> list[str]:
    word = style.paint("proved", "good") if one["proved"] else style.paint("NOT PROVED", "bad")
    name = one.get("name") or one["roadblock"]
    lines = [f"{word} {clean(one['code'])} {clean(name)} ({duration(one['seconds'])})"]
    if one.get("reason"):
        lines += prose(one["reason"], style, "    ")
    rows = [
        (what, _held(promised, measured, bool(one["measured"])))
        for what, promised, measured in pairs(one["promised"], one["measured"])
    ]
    return lines + table(rows, indent="    ")


def _held(promised: str, measured: str, ran: bool) -> str:
    """A number and what it was held to. One limit for several measurements has no measurement of its own name."""
    if not measured and ran:
        return f"promised {promised}"
    return (measured or "not measured") + (f" (promised {promised})" if promised else "")


def up(run: Run, style: Style = PLAIN) -> str:
    """The end of ``provision up``: what was found, changed and proved, with numbers."""
    lines = [f"{style.paint(clean(run.machine), 'head')}: {_outcome(run)}", "", style.paint("found", "head")]
    lines += [f"  put right: {clean(c.cause)}: {line_of(c.cause)} [{', '.join(c.codes)}]" for c in run.repaired]
    for one in run.causes:
        lines += [f"  {line}".rstrip() for line in cause_block(one, run.results, style)]
    lines += [] if run.causes else ["  nothing is wrong now" if run.repaired else "  nothing wrong"]
    lines += [f"  {line}".rstrip() for line in blind_block(run.results, run.causes, style)]
    lines += [f"  {line}" for line in waived_block(run.results, style)]
    count = f"{len(run.changed)} of {plural(len(run.changes), 'managed thing')}" if run.changes else "nothing"
    lines += ["", f"{style.paint('changed', 'head')}: {count}"]
    lines += table([(c["kind"], c["what"], _first_line(c["detail"])) for c in run.changed])
    lines += ["", style.paint("proved", "head")]
    lines += [f"  {line}" for line in proofs(run, style).splitlines()]
    took = [(name, duration(seconds)) for name, seconds in run.seconds.items()]
    lines += ["", style.paint("took", "head"), *table([*took, ("together", duration(sum(run.seconds.values())))])]
    kept = [("evidence", f"{run.directory} (report.html there says the same, with the facts)")] if run.directory else []
    lines += ["", *table([*run.about.items(), *kept], indent="")]
    return "\n".join(lines).rstrip("\n") + "\n"


def _outcome(run: Run) -> str:
    errors = sum(c.severity == "error" for c in run.causes)
    bad = [f"{plural(len(run.unproved), 'proof')} of {len(run.proofs)} not proved"] if run.unproved else []
    bad += [f"{plural(errors, 'error')} left"] if errors else []
    if bad:
        return "NOT DONE: " + ", ".join(bad)
    proved = f"every promised proof holds ({len(run.proofs)})" if run.proofs else "nothing was proved yet"
    return f"{plural(len(run.changed), 'change')}, {proved}"


def _first_line(text: str) -> str:
    return (text.splitlines() or [""])[0]


def undone(what: Undone) -> str:
    """What was taken back, and what was kept with the reason."""
    lines = [f"Run {what.run} was taken back.", *(f"  taken back  {clean(line)}" for line in what.taken_back)]
    return "\n".join([*lines, *(f"  kept        {clean(line)}" for line in what.kept)]) + "\n"
