"""A run as one HTML file: no script, nothing loaded from elsewhere, every value escaped."""

from __future__ import annotations

from importlib import resources
from typing import Any

from provision import check, codec
from provision.fact import Absent, Missing
from provision.report.diagnosis import line_of, verdict
from provision.report.layout import clean
from provision.report.quantity import duration, pairs, quantity
from provision.report.run import GPU_NOT_RUN, Run


def page(run: Run) -> str:
    """``report.html`` of a run."""
    import jinja2

    source = (resources.files("provision.templates") / "report" / "report.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_shown
    )
    return (
        environment.from_string(source).render(
            run=run,
            verdict=verdict(run.causes),
            line_of=line_of,
            duration=duration,
            pairs=pairs,
            summary=check.summary(run.results),
            blind=[r for r in run.results if r.outcome in ("unknown", "crashed")],
            waived=[r for r in run.results if r.outcome == "accepted"],
            facts=_facts(run),
            gpu_not_run="" if run.gpu_ran else GPU_NOT_RUN,
        )
        + "\n"
    )


def _shown(value: Any) -> Any:
    """What a browser or a copied line would act on is spelled out; lines stay lines. jinja2 escapes what comes back."""
    return "\n".join(clean(line) for line in value.split("\n")) if isinstance(value, str) else value


def _facts(run: Run) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """(name, state, rows) for every fact: a known one has a row per field, the others one row with the reason."""
    found: list[tuple[str, str, list[tuple[str, str]]]] = []
    for name, value in run.facts.facts.items() if run.facts else ():
        if isinstance(value, (Absent, Missing)):
            state = "not there" if isinstance(value, Absent) else "could not look"
            found.append((name, state, [("reason", value.reason)]))
        else:
            rows = [(key.replace("_", " "), quantity(key, item)) for key, item in codec.dump(value).items()]
            found.append((name, "known", rows))
    return found
