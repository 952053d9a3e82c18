"""Results as JUnit XML, which GitLab, Jenkins and most CI systems read: one suite per obstacle, one case per check.

Failures and errors are exactly what makes the exit code 1 and 3. What a machine was not judged by, or is let through, is
``skipped`` with its reason, so that it stands in every viewer and never counts as passed.
Shape: the schema of the Jenkins xUnit plugin, junit-10.xsd, to which the tests hold it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape, quoteattr

from provision.check import Finding, Result
from provision.report.formats import Shown
from provision.report.layout import clean
from provision.roadblock import ROADBLOCKS


def document(shown: Shown) -> str:
    """``provision doctor --format junit``."""
    grouped = [(r.name, [one for one in shown.results if one.roadblock == r.name]) for r in ROADBLOCKS]
    suites = [line for name, those in grouped if those for line in _suite(shown, name, those)]
    counts = _counts(shown.results, shown.strict)
    head = f'<testsuites name="provision doctor" {_attributes(counts, ("tests", "failures", "errors"))}>'
    return "\n".join(['<?xml version="1.0" encoding="UTF-8"?>', head, *suites, "</testsuites>"]) + "\n"


def _counts(results: Sequence[Result], strict: bool) -> dict[str, int]:
    kinds = [_kind(one, strict) for one in results]
    return {
        "tests": len(results),
        "failures": kinds.count("failure"),
        "errors": kinds.count("error"),
        "skipped": kinds.count("skipped"),
    }


def _attributes(counts: dict[str, int], names: Sequence[str]) -> str:
    return " ".join(f'{name}="{counts[name]}"' for name in names)


def _kind(one: Result, strict: bool) -> str:
    """The element inside a case; "" for one that passed."""
    if one.fails(strict):
        return "failure"
    if one.blind(strict):
        return "error"
    return "" if one.outcome == "ok" else "skipped"


def _suite(shown: Shown, name: str, results: Sequence[Result]) -> Iterator[str]:
    counts = _attributes(_counts(results, shown.strict), ("tests", "failures", "errors", "skipped"))
    yield f"  <testsuite name={_quoted(f'provision.{name}')} hostname={_quoted(shown.machine)} {counts}>"
    for one in results:
        yield from _case(one, shown.strict)
    yield "  </testsuite>"


def _case(one: Result, strict: bool) -> Iterator[str]:
    kind = _kind(one, strict)
    head = f"    <testcase classname={_quoted(f'provision.{one.roadblock}')} name={_quoted(f'{one.code} {one.name}')}"
    if not kind and not one.waiver:
        yield f"{head}/>"
        return
    yield f"{head}>"
    if kind:
        body = escape("\n".join(_body(one)))
        yield f"      <{kind} type={_quoted(one.cause)} message={_quoted(_message(one, strict))}>{body}</{kind}>"
    if one.waiver:
        yield f"      <system-out>{escape(clean(one.waiver))}</system-out>"
    yield "    </testcase>"


def _message(one: Result, strict: bool) -> str:
    if one.outcome == "found":
        words = "; ".join(f.message for f in one.findings)
        if one.known:
            return f"{one.severity}, in the baseline already: {words}"
        return words if one.fails(strict) else f"{one.severity}, does not fail here: {words}"
    head = {"unknown": "could not look", "skipped": "does not apply"}.get(one.outcome, one.outcome)
    return f"{head}: {one.reason}"


def _body(one: Result) -> Iterator[str]:
    """Each finding with its numbers and the commands that fix it."""
    for finding in one.findings:
        yield clean(finding.message) + (" (in the baseline)" if finding.known else "")
        yield from (f"  {clean(line)}" for line in _next(finding))


def _next(finding: Finding) -> Iterator[str]:
    yield from (f"fix: {command}" for command in finding.fix)
    yield from (f"tell apart: {command}" for command in finding.tell_apart)


def _quoted(text: str) -> str:
    return quoteattr(clean(text))
