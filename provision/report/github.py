"""Causes as GitHub workflow commands: an annotation each, on the run's summary page.

Escaping as GitHub's own toolkit does it (actions/toolkit, packages/core/src/command.ts): ``%``, CR and LF in a message,
``:`` and ``,`` too in a property. GitHub shows ten annotations of a level from one step, so a cause is one, not its findings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from provision import check
from provision.cause import Cause
from provision.check import Result, Severity
from provision.fact import NOT_PASTED
from provision.report.diagnosis import blind_reasons, followers, in_baseline, line_of, unpasted
from provision.report.formats import Shown
from provision.report.layout import clean

LEVELS: dict[Severity, str] = {"error": "error", "warning": "warning", "note": "notice"}


def document(shown: Shown) -> str:
    """``provision doctor --format github``: what fails first, then what could not be looked at, what is waived, counts."""
    lines = [_cause(one, shown.results) for one in shown.causes]
    lines += [
        _command(
            "error" if any(r.blind(shown.strict) for r in those) else "notice",
            "could not look",
            [unpasted(those)] if reason == NOT_PASTED else [reason, ", ".join(f"{r.code} {r.name}" for r in those)],
        )
        for reason, those in blind_reasons(shown.results, shown.causes)
    ]
    lines += [line for one in shown.results for line in _other(one)]
    counts = ", ".join(f"{count} {outcome}" for outcome, count in check.summary(shown.results).items())
    return "\n".join([*lines, f"provision doctor: {counts}"]) + "\n"


def _cause(one: Cause, results: Sequence[Result]) -> str:
    known = in_baseline(one, results)
    told = "" if one.certainty == "certain" else f" ({one.certainty})"
    told += " (in the baseline)" if known else ""
    head = f"{line_of(one.cause)} [{', '.join(one.codes)}]".strip()
    body = [head, *one.because, *_named("fix", one.fix), *_named("tell apart", one.tell_apart)]
    also = followers(one, results)
    body += [f"also: {', '.join(also)}"] if also else []
    return _command("notice" if known else LEVELS[one.severity], f"{one.cause}{told}", body)


def _named(name: str, values: Sequence[str]) -> list[str]:
    return [f"{name}: {value}" for value in values]


def _other(one: Result) -> Iterator[str]:
    title = f"{one.code} {one.name}"
    if one.outcome == "crashed":
        yield _command("error", f"crashed: {title}", [one.reason])
    if one.outcome == "accepted":
        yield _command("notice", f"accepted: {title}", [one.reason])
    if one.waiver:
        yield _command("warning", f"waiver: {title}", [one.waiver])


def _command(level: str, title: str, body: Sequence[str]) -> str:
    name = clean(title).replace("%", "%25").replace(":", "%3A").replace(",", "%2C")
    message = "%0A".join(clean(line).replace("%", "%25") for line in body)
    return f"::{level} title={name}::{message}"
