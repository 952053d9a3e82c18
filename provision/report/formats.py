"""The doctor's formats: one diagnosis, written for a person, a program or a CI system."""

from __future__ import annotations

from collections.abc import Sequence

from provision.cause import Cause
from provision.check import Result
from provision.fact import Snapshot
from provision.plan import Serving
from provision.record import record
from provision.report.layout import PLAIN, Style


@record
class Shown:
    """What is to be shown of one diagnosis.

    ``strict`` as on the command line: formats that say what fails say the same as the exit code. ``baseline``: findings
    were compared with an earlier run. ``spec_path``: the file that a code host is to point at. ``serving``: how the model of
    that file is to be served.
    """

    machine: str
    results: Sequence[Result]
    causes: Sequence[Cause]
    snapshot: Snapshot | None = None
    strict: bool = False
    baseline: bool = False
    spec_path: str = "provision.toml"
    serving: Serving | None = None


def write(form: str, shown: Shown, style: Style = PLAIN) -> str:
    """The diagnosis in ``form``, one of the command line's ``FORMATS``. ``style`` matters to text alone."""
    if form == "text":
        from provision.report import text

        return text.doctor(shown.machine, shown.results, shown.causes, style)
    if form == "json":
        from provision.report import machine

        return machine.doctor(shown.machine, shown.results, shown.causes)
    if form == "junit":
        from provision.report import junit

        return junit.document(shown)
    if form == "sarif":
        from provision.report import sarif

        return sarif.document(shown)
    if form == "github":
        from provision.report import github

        return github.document(shown)
    if form == "markdown":
        from provision.report import markdown

        return markdown.document(shown)
    from provision.report import html

    return html.diagnosis(shown)
