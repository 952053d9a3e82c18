"""A diagnosis, or a whole run, as one HTML file: nothing is loaded from elsewhere and every value is escaped.

The only script is the search, named by its hash in the page's content security policy; so no other can run, whatever a
machine is called. Without it the page is whole.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

from provision import __version__, check, codec
from provision.cause import Cause
from provision.check import Result
from provision.fact import Absent, Missing, Snapshot
from provision.plan import Serving
from provision.report import map as machine_map
from provision.report import use
from provision.report.diagnosis import followers, in_baseline, line_of, verdict
from provision.report.formats import Shown
from provision.report.layout import clean
from provision.report.quantity import duration, pairs, quantity
from provision.report.run import GPU_NOT_RUN, Run

if TYPE_CHECKING:
    from provision.fit.answer import Answer

_DOCTOR = (("causes", "Causes"), ("map", "The machine"), ("checks", "Checks"), ("facts", "Facts"))
_RUN = (
    ("causes", "Causes"),
    ("changes", "Changes"),
    ("proofs", "Proofs"),
    ("map", "The machine"),
    ("checks", "Checks"),
    ("facts", "Facts"),
    ("run", "This run"),
)


def diagnosis(shown: Shown) -> str:
    """``provision doctor --format html``."""
    return _written(
        "doctor.html.j2",
        _DOCTOR,
        _context(shown.machine, shown.results, shown.causes, shown.snapshot, shown.serving),
        looked_by=shown.snapshot.tool_version if shown.snapshot else __version__,
        written_by=__version__,
    )


def page(run: Run) -> str:
    """``report.html`` of a run."""
    return _written(
        "report.html.j2",
        _RUN,
        _context(run.machine, run.results, run.causes, run.facts, run.serving),
        run=run,
        duration=duration,
        pairs=pairs,
        gpu_not_run="" if run.gpu_ran else GPU_NOT_RUN,
    )


def fit(found: Answer) -> str:
    """``provision fit --html``."""
    one = use.answered(found)
    context = {"machine": one.title, "verdict": one.verdict, "one": one, "map": None, "written_by": __version__}
    return _written("fit.html.j2", (("answer", "The answer"),), context)


def _context(
    machine: str,
    results: Sequence[Result],
    causes: Sequence[Cause],
    snapshot: Snapshot | None,
    serving: Serving | None,
) -> dict[str, Any]:
    names = {r.code: f"{r.code} {r.name}" for r in results}
    waived = [(r.code, r.name, r.outcome, r.reason) for r in results if r.outcome == "accepted"]
    return {
        "machine": machine,
        "results": results,
        "causes": causes,
        "verdict": verdict(causes, results),
        "line_of": line_of,
        "known": lambda one: in_baseline(one, results),
        "also": lambda one: [names.get(code, code) for code in followers(one, results)],
        "summary": check.summary(results),
        "blind": [(r.code, r.name, r.outcome, r.reason) for r in results if r.outcome in ("unknown", "crashed")],
        "waived": waived + [(r.code, r.name, r.outcome, r.waiver) for r in results if r.waiver],
        "map": machine_map.draw(snapshot, serving) if snapshot else None,
        "facts": list(_facts(snapshot)) if snapshot else [],
    }


def _written(template: str, parts: Sequence[tuple[str, str]], context: Mapping[str, Any], **more: Any) -> str:
    import jinja2
    import markupsafe

    style, script = _file("style.css"), _file("search.js")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_file),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    return (
        environment.get_template(template).render(
            **context,
            **more,
            parts=[(id_, name) for id_, name in parts if id_ != "map" or context["map"]],
            style=markupsafe.Markup(style),  # noqa: S704 (our own files, not values)
            script=markupsafe.Markup(script),  # noqa: S704
            style_hash=_hash(style),
            script_hash=_hash(script),
        )
        + "\n"
    )


def _file(name: str) -> str:
    return (resources.files("provision.templates") / "report" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """As a content security policy names a style or script: base64 of its SHA-256."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _shown(value: Any) -> Any:
    """What a browser or a copied line would act on is spelled out; lines stay lines. jinja2 escapes what comes back."""
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return "\n".join(clean(line) for line in value.split("\n"))
    return value


def _facts(snapshot: Snapshot) -> Iterator[tuple[str, str, list[tuple[str, str]]]]:
    """(name, state, rows) for every fact: a known one has a row per field, the others one row with the reason."""
    for name, value in snapshot.facts.items():
        if isinstance(value, (Absent, Missing)):
            yield name, "not there" if isinstance(value, Absent) else "could not look", [("reason", value.reason)]
        else:
            yield name, "known", [row for key, item in codec.dump(value).items() for row in _rows(key, item)]


def _rows(key: str, value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """A field as rows, whole, so that the search finds it: records of a list each have their own."""
    name = f"{path} {key.replace('_', ' ')}".strip()
    if isinstance(value, dict) and value:
        for inner, item in value.items():
            yield from _rows(inner, item, name)
    elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        for number, item in enumerate(value, 1):
            for inner, part in item.items():
                yield from _rows(inner, part, f"{name} {number}")
    else:
        yield name, quantity(key, value, shown=None)
