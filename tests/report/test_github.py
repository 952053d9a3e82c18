"""GitHub annotations: read back as the runner reads them, whatever a machine is called."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest

from provision import cause
from provision.check import Finding, Result
from provision.report import github
from provision.report.layout import clean


def unescaped(text: str, property_: bool) -> str:
    """As actions/runner does it (src/Runner.Common/ActionCommand.cs): %25 last."""
    marks = [("%0D", "\r"), ("%0A", "\n"), *([("%3A", ":"), ("%2C", ",")] if property_ else []), ("%25", "%")]
    for mark, plain in marks:
        text = text.replace(mark, plain)
    return text


def runner(line: str) -> tuple[str, str, str] | None:
    """(level, title, message) of a line that the runner takes for a command, None for one it prints."""
    if not line.lstrip().startswith("::"):
        return None
    head, _, message = line.lstrip()[2:].partition("::")
    level, _, properties = head.partition(" ")
    pairs = dict(pair.split("=", 1) for pair in properties.split(","))
    assert set(pairs) == {"title"}
    return level, unescaped(pairs["title"], True), unescaped(message, False)


def commands(document: str) -> list[tuple[str, str, str]]:
    return [one for line in document.splitlines() if (one := runner(line))]


def test_causes_then_what_could_not_be_looked_at_then_waivers_then_counts(sample: SimpleNamespace) -> None:
    document = github.document(sample.shown())
    told = commands(document)
    assert [(level, title) for level, title, _ in told] == [
        ("error", "driver-too-old-for-cuda"),
        ("warning", "slow-storage (possible)"),
        ("error", "could not look"),
        ("error", "could not look"),
        ("error", "crashed: ISO001 engine-exposed"),
        ("notice", "accepted: STO005 scratch"),
    ]
    line = cause.table()["driver-too-old-for-cuda"].line
    assert told[0][2].splitlines() == [
        f"{line} [CUD003]",
        "driver 525.147 gives CUDA 12.0; torch 2.13.0 needs 580.65",
        "fix: provision lock smoke-cu126",
        "fix: or: install driver 580",
    ]
    assert told[1][2].splitlines()[-1] == "tell apart: provision disk /srv"
    assert told[2][2].splitlines() == ["permission denied", "MEM001 memory-limit-too-low, MEM002 memory-taken"]
    assert told[5][2] == "reviewed 2026-11-24"
    counts = "1 ok, 2 found, 3 unknown, 1 skipped, 1 crashed, 1 accepted"
    assert document.splitlines()[-1] == f"provision doctor: {counts}"


@pytest.mark.parametrize(("strict", "level"), [(False, "notice"), (True, "error")])
def test_an_unknown_is_as_loud_as_the_exit_code(sample: SimpleNamespace, strict: bool, level: str) -> None:
    dark = Result("STO001", "n", "storage", "warning", "disk-full", "unknown", "closed")
    told = commands(github.document(sample.shown(results=(dark,), causes=(), strict=strict)))
    assert told == [(level, "could not look", "closed\nSTO001 n")]


def test_what_the_baseline_has_is_a_notice(sample: SimpleNamespace) -> None:
    old = dataclasses.replace(sample.RESULTS[0], findings=(Finding("old", known=True),))
    told = commands(github.document(sample.shown(results=(old,), causes=cause.causes((old,)))))
    assert told[0][:2] == ("notice", "driver-too-old-for-cuda (in the baseline)")


def test_a_waiver_without_effect_is_a_warning(sample: SimpleNamespace) -> None:
    late = dataclasses.replace(sample.RESULTS[2], waiver="the waiver ended on 2026-01-01: moving")
    told = commands(github.document(sample.shown(results=(late,), causes=())))
    assert told == [("warning", "waiver: DEP001 no-engine", "the waiver ended on 2026-01-01: moving")]


@pytest.mark.parametrize("text", ["100%", "%0A::error::x", "a\r\nb", "::set-output name=x::y", "a:b,c", "##[error]x"])
def test_no_text_starts_a_command_or_leaves_its_own(sample: SimpleNamespace, text: str) -> None:
    finding = Finding(text, fix=(text,))
    one = Result("STO001", text, "storage", "error", "disk-full", "found", "", (finding,), waiver=text)
    document = github.document(sample.shown(machine=text, results=(one,), causes=cause.causes((one,))))
    first, second = commands(document)
    assert len(document.splitlines()) == 3
    assert first[2].splitlines()[1:] == [clean(text), f"fix: {clean(text)}"]
    assert second[1:] == (f"waiver: STO001 {clean(text)}", clean(text))


def test_hostile_text_everywhere(sample: SimpleNamespace) -> None:
    document = github.document(sample.hostile_shown())
    *told, last = document.splitlines()
    assert all(runner(line) for line in told)
    assert runner(last) is None
    assert sum(clean(sample.HOSTILE) in message for _, _, message in commands(document)) == len(told)
