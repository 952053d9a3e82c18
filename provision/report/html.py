"""A run as one HTML file: no script, no external resource, every value escaped."""

from __future__ import annotations

from importlib import resources

from provision.report.run import Run


def page(run: Run) -> str:
    """``report.html`` of a run."""
    import jinja2

    text = (resources.files("provision.templates") / "report" / "report.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    facts = [(name, str(value)) for name, value in run.facts.facts.items()] if run.facts else []
    return environment.from_string(text).render(run=run, facts=facts)
