"""One cause, many symptoms: how results are grouped, and the table they are grouped by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pytest

from provision import cause, check
from provision.cause import CauseRow
from provision.check import Finding, Outcome, Result, Severity

# The table is data: these tests put their own under the code, so that a row more in the real one changes none of them.
ROWS = {
    "no-power": CauseRow(line="the plug is out", explains=("no-light", "no-heat")),
    "no-light": CauseRow(line="the lamp is dark", explains=("no-reading",)),
    "no-heat": CauseRow(line="the stove is cold"),
    "no-reading": CauseRow(line="the book cannot be read"),
    "leaking-roof": CauseRow(line="it rains in", explains=("no-reading",)),
}


@pytest.fixture
def own_table(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, CauseRow]:
    monkeypatch.setattr(cause, "table", lambda: ROWS)
    return ROWS


def result(
    code: str,
    name: str,
    outcome: Outcome = "found",
    severity: Severity = "error",
    certainty: Literal["certain", "likely", "possible"] = "certain",
    **finding: Any,
) -> Result:
    found = (Finding(finding.pop("message", f"{code} is wrong"), certainty=certainty, **finding),)
    reason = "" if outcome in ("ok", "found") else "dark"
    return Result(code, code.lower(), "storage", severity, name, outcome, reason, found if outcome == "found" else ())


def told(*results: Result) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    return [(c.cause, c.codes, c.also) for c in cause.causes(results)]


@pytest.mark.usefixtures("own_table")
class TestGrouping:
    def test_nothing_found_has_no_cause(self) -> None:
        assert told(result("STO001", "no-power", "ok"), result("STO002", "no-heat", "skipped")) == []

    def test_findings_of_one_cause_are_one(self) -> None:
        found = [result("STO001", "no-heat", fix=("a",)), result("STO002", "no-heat", fix=("b", "a"))]
        (one,) = cause.causes(found)
        assert (one.codes, one.because, one.fix) == (
            ("STO001", "STO002"),
            ("STO001 is wrong", "STO002 is wrong"),
            ("a", "b"),
        )

    def test_what_a_cause_explains_goes_under_it_however_far(self) -> None:
        found = [result("STO001", "no-reading"), result("STO002", "no-light"), result("STO003", "no-power")]
        assert told(*found) == [("no-power", ("STO003",), ("STO001", "STO002"))]

    def test_what_is_not_explained_stands_alone(self) -> None:
        found = [result("STO001", "no-heat"), result("STO002", "no-light")]
        assert told(*found) == [("no-light", ("STO002",), ()), ("no-heat", ("STO001",), ())]  # the table's order

    def test_a_symptom_of_two_causes_is_under_both(self) -> None:
        found = [result("STO001", "leaking-roof"), result("STO002", "no-light"), result("STO003", "no-reading")]
        assert told(*found) == [("no-light", ("STO002",), ("STO003",)), ("leaking-roof", ("STO001",), ("STO003",))]

    def test_an_unknown_that_an_active_cause_explains_goes_under_it(self) -> None:
        found = [result("STO001", "no-power"), result("STO002", "no-reading", "unknown")]
        assert told(*found) == [("no-power", ("STO001",), ("STO002",))]

    def test_an_unknown_of_the_same_cause_goes_under_it(self) -> None:
        assert told(result("STO001", "no-heat"), result("STO002", "no-heat", "unknown")) == [
            ("no-heat", ("STO001",), ("STO002",))
        ]

    def test_an_unknown_alone_is_no_cause_and_explains_nothing(self) -> None:
        found = [result("STO001", "no-power", "unknown"), result("STO002", "no-heat")]
        assert told(*found) == [("no-heat", ("STO002",), ())]

    @pytest.mark.parametrize("outcome", ["accepted", "skipped", "crashed", "ok"])
    def test_only_what_is_found_is_active(self, outcome: Outcome) -> None:
        found = [result("STO001", "no-power", outcome), result("STO002", "no-heat")]
        assert told(*found) == [("no-heat", ("STO002",), ())]
        found = [result("STO001", "no-power"), result("STO002", "no-heat", outcome)]
        assert told(*found) == [("no-power", ("STO001",), ())]

    def test_errors_come_before_warnings_before_notes_then_in_the_tables_order(self) -> None:
        found = [
            result("STO001", "no-heat", severity="note"),
            result("STO002", "leaking-roof", severity="warning"),
            result("STO004", "no-light"),
            result("STO003", "unlisted"),
        ]
        assert [c.cause for c in cause.causes(found)] == ["unlisted", "no-light", "leaking-roof", "no-heat"]

    def test_the_likeliest_comes_first_within_a_severity(self) -> None:
        found = [
            result("STO001", "no-heat", severity="warning", certainty="possible", tell_apart=("feel it",)),
            result("STO002", "no-light", severity="warning", certainty="likely", tell_apart=("look",)),
            result("STO003", "leaking-roof", severity="warning"),
        ]
        assert [c.certainty for c in cause.causes(found)] == ["certain", "likely", "possible"]

    def test_a_guess_takes_in_nothing_that_is_sure(self) -> None:
        found = [
            result("STO001", "no-power", certainty="likely", tell_apart=("look",)),
            result("STO002", "no-light"),
            result("STO003", "no-heat", certainty="possible", tell_apart=("feel it",)),
        ]
        assert told(*found) == [("no-light", ("STO002",), ()), ("no-power", ("STO001",), ("STO002", "STO003"))]

    def test_a_warning_takes_in_no_error(self) -> None:
        found = [result("STO001", "no-power", severity="warning"), result("STO002", "no-light")]
        assert [c.cause for c in cause.causes(found)] == ["no-light", "no-power"]

    @pytest.mark.parametrize(("severity", "shown"), [("error", "warning"), ("warning", "warning"), ("note", "note")])
    def test_what_the_evidence_cannot_settle_is_no_error(self, severity: Severity, shown: str) -> None:
        found = result("STO001", "no-heat", severity=severity, certainty="likely", tell_apart=("feel it",))
        (one,) = cause.causes([found])
        assert (one.severity, one.certainty, one.tell_apart) == (shown, "likely", ("feel it",))

    def test_one_certain_finding_settles_its_cause(self) -> None:
        found = [
            result("STO001", "no-heat", certainty="possible", tell_apart=("feel it",)),
            result("STO002", "no-heat"),
        ]
        (one,) = cause.causes(found)
        assert (one.severity, one.certainty) == ("error", "certain")

    def test_the_gravest_check_gives_the_severity(self) -> None:
        (one,) = cause.causes([result("STO001", "no-heat", severity="note"), result("STO002", "no-heat")])
        assert one.severity == "error"

    def test_the_order_of_results_does_not_change_the_diagnosis(self) -> None:
        found = [result("STO003", "no-power"), result("STO001", "no-heat"), result("STO002", "leaking-roof")]
        assert {c.cause for c in cause.causes(found)} == {c.cause for c in cause.causes(found[::-1])}
        assert [c.cause for c in cause.causes(found)] == [c.cause for c in cause.causes(found[::-1])]

    def test_a_cause_that_the_table_lacks_stands_alone(self) -> None:
        assert told(result("STO001", "unlisted")) == [("unlisted", ("STO001",), ())]


def test_the_table_is_acyclic() -> None:
    table = cause.table()
    assert [name for name in table if name in cause.explained_by(name)] == []


def test_what_is_explained_is_in_the_table() -> None:
    table = cause.table()
    assert {other for row in table.values() for other in row.explains} <= set(table)


def test_every_cause_that_a_check_names_is_in_the_table() -> None:
    check.load()
    assert {one.cause for one in check.CHECKS.values()} <= set(cause.table())


def test_in_the_real_table_every_cause_takes_in_what_it_explains() -> None:
    """Every edge, as results: parent and child found together are one cause."""
    for name, row in cause.table().items():
        for child in row.explains:
            assert told(result("STO001", name), result("STO002", child)) == [(name, ("STO001",), ("STO002",))]
