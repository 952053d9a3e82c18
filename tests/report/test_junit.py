"""JUnit XML, held to the Jenkins schema and to a reader that is not ours."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import junitparser
import pytest
import xmlschema

from provision import check
from provision.check import Finding, Result
from provision.report import junit
from provision.report.layout import clean

SCHEMA = xmlschema.XMLSchema(Path(__file__).parent / "schemas" / "junit-10.xsd")


def read(document: str) -> junitparser.JUnitXml:
    SCHEMA.validate(document)
    return junitparser.JUnitXml.fromstring(document.encode())


def cases(document: str) -> dict[str, Any]:
    return {case.name.split()[0]: case for suite in read(document) for case in suite}


def said(case: Any) -> list[tuple[str, str | None]]:
    return [(type(part).__name__, part.message) for part in case.result]


def test_every_outcome_is_told_as_a_ci_system_reads_it(sample: SimpleNamespace) -> None:
    those = cases(junit.document(sample.shown()))
    assert {code: said(case) for code, case in those.items()} == {
        "CUD003": [("Failure", "driver 525.147 gives CUDA 12.0; torch 2.13.0 needs 580.65")],
        "CUD007": [("Error", "could not look: no answer in 2 s")],
        "DEP001": [],
        "ISO001": [("Error", "crashed: KeyError: 'x'")],
        "LAT001": [("Skipped", "does not apply: no GPU")],
        "MEM001": [("Error", "could not look: permission denied")],
        "MEM002": [("Error", "could not look: permission denied")],
        "STO004": [("Skipped", "warning, does not fail here: /srv lies on sda, a rotating disk")],
        "STO005": [("Skipped", "accepted: reviewed 2026-11-24")],
    }
    assert those["CUD003"].name == "CUD003 driver-too-old"
    assert those["CUD003"].classname == "provision.cuda"
    assert "fix: provision lock smoke-cu126" in those["CUD003"].result[0].text


def test_strict_fails_what_the_exit_code_fails(sample: SimpleNamespace) -> None:
    those = cases(junit.document(sample.shown(strict=True)))
    assert said(those["STO004"]) == [("Failure", "/srv lies on sda, a rotating disk")]


@pytest.mark.parametrize("strict", [False, True])
def test_failures_and_errors_are_the_exit_code(sample: SimpleNamespace, strict: bool) -> None:
    for results in ([one] for one in sample.RESULTS):
        document = read(junit.document(sample.shown(results=results, causes=(), strict=strict)))
        expected = {0: (0, 0), 1: (1, 0), 3: (0, 1)}[check.exit_code(results, strict)]
        assert (document.failures, document.errors) == expected, results


def test_the_counts_are_those_of_the_cases(sample: SimpleNamespace) -> None:
    document = read(junit.document(sample.shown()))
    told = [(s.name, s.tests, s.failures, s.errors, s.skipped) for s in document]
    assert (document.tests, document.failures, document.errors) == (9, 1, 4)
    document.update_statistics()
    assert told == [(s.name, s.tests, s.failures, s.errors, s.skipped) for s in document]
    assert (document.tests, document.failures, document.errors) == (9, 1, 4)
    assert {s.hostname for s in document} == {"gpu-07"}


def test_a_finding_of_the_baseline_does_not_fail(sample: SimpleNamespace) -> None:
    known = dataclasses.replace(sample.RESULTS[0], findings=(Finding("old", known=True),))
    half = dataclasses.replace(sample.RESULTS[0], code="CUD004", findings=(Finding("old", known=True), Finding("new")))
    those = cases(junit.document(sample.shown(results=(known, half))))
    assert said(those["CUD003"]) == [("Skipped", "error, in the baseline already: old")]
    assert said(those["CUD004"]) == [("Failure", "old; new")]
    assert those["CUD004"].result[0].text == "old (in the baseline)\nnew"


def test_a_waiver_without_effect_is_said_beside_the_outcome(sample: SimpleNamespace) -> None:
    late = dataclasses.replace(sample.RESULTS[0], waiver="the waiver ended on 2026-01-01: moving")
    idle = Result("STO001", "n", "storage", "error", "disk-full", "ok", waiver="nothing to waive now: moving")
    those = cases(junit.document(sample.shown(results=(late, idle))))
    assert said(those["CUD003"])[0][0] == "Failure"
    assert those["CUD003"].system_out == "the waiver ended on 2026-01-01: moving"
    assert (those["STO001"].is_passed, those["STO001"].system_out) == (True, "nothing to waive now: moving")


def test_hostile_text_is_data(sample: SimpleNamespace) -> None:
    document = junit.document(sample.hostile_shown())
    read_back = read(document)
    shown = clean(sample.HOSTILE)
    assert {suite.hostname for suite in read_back} == {shown}
    those = cases(document)
    assert said(those["STO006"]) == [("Skipped", f"could not look: {shown}")]
    assert those["STO008"].system_out == shown
    document.encode("utf-8")


def test_nothing_judged_is_valid_too(sample: SimpleNamespace) -> None:
    assert read(junit.document(sample.shown(results=(), causes=()))).tests == 0
