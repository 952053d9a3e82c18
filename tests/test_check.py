"""What a check can say about a machine, and the exit code that follows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from provision import check
from provision.check import ERROR, NOTE, WARNING, Check, Finding, NotApplicable, Outcome, Result, Severity
from provision.fact import Absent, Missing, Snapshot, needs_of


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Tank:
    """A fact of this test's own."""

    free_litres: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Journey:
    """A plan section of this test's own."""

    needed_litres: int


def tank_too_empty(tank: Tank, plan: Journey) -> Iterator[Finding]:
    """The tank holds too little."""
    if tank.free_litres < plan.needed_litres:
        yield Finding(
            f"{tank.free_litres} litres; {plan.needed_litres} are needed",
            measured={"free_litres": tank.free_litres},
            needed={"free_litres": plan.needed_litres},
            fix=("fill it",),
        )


def tank_not_there(tank: Tank | Absent) -> Iterator[Finding]:
    """There is no tank."""
    if isinstance(tank, Absent):
        yield Finding(f"no tank: {tank.reason}")


def tank_not_readable(tank: Tank | Missing | Absent) -> Iterator[Finding]:
    """The tank cannot be read."""
    if isinstance(tank, Missing):
        yield Finding(f"no gauge: {tank.reason}")


def journey_too_short(plan: Journey) -> Iterator[Finding]:
    """The journey is too short to judge."""
    if plan.needed_litres == 0:
        raise NotApplicable("nothing to drive")
    yield from ()


def gauge_broken(tank: Tank) -> Iterator[Finding]:
    """The check itself fails, after it has found something."""
    yield Finding("half a thought")
    raise ZeroDivisionError(f"cannot divide {tank.free_litres}")


def made(code: str, severity: Severity, function: Callable[..., Iterator[Finding]]) -> Check:
    return Check(code, severity, "tank-empty", function, needs_of(function), "storage")


@pytest.fixture(autouse=True)
def own_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five checks instead of the registered ones, for as long as a test runs."""
    monkeypatch.setattr(
        check,
        "CHECKS",
        {
            one.code: one
            for one in (
                made("STO905", ERROR, gauge_broken),
                made("STO901", ERROR, tank_too_empty),
                made("STO902", WARNING, tank_not_there),
                made("STO903", NOTE, tank_not_readable),
                made("STO904", ERROR, journey_too_short),
            )
        },
    )


def run(
    tank: Any = Tank(free_litres=50),
    plan: Any = Journey(needed_litres=40),
    accepted: dict[str, str] | None = None,
    expired: dict[str, str] | None = None,
) -> dict[str, Result]:
    snapshot = Snapshot("m", {"Tank": tank} if tank is not None else {}, "0")
    return {r.code: r for r in check.run(snapshot, {Journey: plan}, accepted, None, expired)}


def test_the_real_registry_is_untouched_by_these() -> None:
    assert "STO901" in check.CHECKS
    assert len(check.CHECKS) == 5


def test_ok_says_nothing() -> None:
    result = run()["STO901"]
    assert (result.outcome, result.reason, result.findings) == ("ok", "", ())


@pytest.mark.parametrize(("free", "outcome"), [(40, "ok"), (39, "found")])
def test_both_sides_of_a_threshold(free: int, outcome: str) -> None:
    assert run(Tank(free_litres=free))["STO901"].outcome == outcome


def test_a_finding_keeps_its_numbers_and_the_check_its_names() -> None:
    result = run(Tank(free_litres=1))["STO901"]
    assert result == Result(
        "STO901",
        "tank-too-empty",
        "storage",
        "error",
        "tank-empty",
        "found",
        "",
        (Finding("1 litres; 40 are needed", {"free_litres": 1}, {"free_litres": 40}, ("fill it",)),),
    )


def test_a_missing_fact_is_unknown_with_the_probes_own_reason() -> None:
    result = run(Missing("no answer in 2 s"))["STO901"]
    assert (result.outcome, result.reason) == ("unknown", "no answer in 2 s")


def test_an_absent_fact_is_skipped_with_the_probes_own_reason() -> None:
    result = run(Absent("it is a bicycle"))["STO901"]
    assert (result.outcome, result.reason) == ("skipped", "it is a bicycle")


def test_a_fact_nobody_looked_at_is_unknown_and_never_ok() -> None:
    result = run(None)["STO901"]
    assert (result.outcome, result.reason) == ("unknown", "Tank was not looked at")


def test_a_section_that_could_not_be_planned_is_unknown() -> None:
    result = run(plan=Missing("no plan could be made: no Memory"))["STO901"]
    assert (result.outcome, result.reason) == ("unknown", "no plan could be made: no Memory")


def test_a_check_that_asks_for_the_reason_runs_on_it() -> None:
    absent, missing = run(Absent("it is a bicycle")), run(Missing("dark"))
    assert absent["STO902"].findings[0].message == "no tank: it is a bicycle"
    assert missing["STO902"].outcome == "unknown"  # it asked for Absent, not for Missing
    assert missing["STO903"].findings[0].message == "no gauge: dark"


def test_not_applicable_is_skipped_with_its_reason() -> None:
    result = run(plan=Journey(needed_litres=0))["STO904"]
    assert (result.outcome, result.reason) == ("skipped", "nothing to drive")


def test_a_crash_is_said_and_hides_no_neighbour() -> None:
    results = run(Tank(free_litres=1))
    assert results["STO905"].outcome == "crashed"
    assert results["STO905"].reason.startswith("ZeroDivisionError: cannot divide 1; please report")
    assert results["STO905"].findings == ()
    assert results["STO901"].outcome == "found"
    assert list(results) == ["STO901", "STO902", "STO903", "STO904", "STO905"]


def test_an_interrupt_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(tank: Tank) -> Iterator[Finding]:
        """Ctrl-C."""
        raise KeyboardInterrupt
        yield

    monkeypatch.setitem(check.CHECKS, "STO901", made("STO901", ERROR, interrupted))
    with pytest.raises(KeyboardInterrupt):
        run()


def test_accepted_keeps_the_finding_and_shows_the_reason() -> None:
    result = run(Tank(free_litres=1), accepted={"STO901": "reviewed"})["STO901"]
    assert (result.outcome, result.reason) == ("accepted", "reviewed")
    assert result.findings[0].message == "1 litres; 40 are needed"


def test_accepted_unknown_says_that_nobody_looked() -> None:
    result = run(Missing("dark"), accepted={"STO901": "reviewed"})["STO901"]
    assert (result.outcome, result.reason) == ("accepted", "reviewed (could not look: dark)")


def test_what_is_ok_skipped_or_crashed_cannot_be_accepted() -> None:
    waived = dict.fromkeys(("STO901", "STO905"), "reviewed")
    assert run(accepted=waived)["STO901"].outcome == "ok"
    assert run(accepted=waived)["STO905"].outcome == "crashed"
    assert run(Absent("none"), accepted=waived)["STO901"].outcome == "skipped"


def test_a_waiver_that_waives_nothing_is_said() -> None:
    result = run(accepted={"STO901": "reviewed"})["STO901"]
    assert (result.outcome, result.reason, result.waiver) == ("ok", "", "nothing to waive now: reviewed")
    assert run(Tank(free_litres=1), accepted={"STO901": "reviewed"})["STO901"].waiver == ""


@pytest.mark.parametrize("tank", [Tank(free_litres=1), Tank(free_litres=50), Missing("dark")])
def test_an_ended_waiver_is_said_and_waives_nothing(tank: Any) -> None:
    result = run(tank, expired={"STO901": "the waiver ended"})["STO901"]
    assert result == dataclasses.replace(run(tank)["STO901"], waiver="the waiver ended")
    assert result.outcome != "accepted"


@pytest.mark.parametrize(("known", "code"), [((True, True), 0), ((True, False), 1), ((False, False), 1)])
def test_a_result_fails_unless_all_of_it_is_known(known: tuple[bool, ...], code: int) -> None:
    result = Result("STO901", "n", "storage", "error", "c", "found", "", tuple(Finding("m", known=k) for k in known))
    assert (check.exit_code([result]), result.known) == (code, code == 0)


@pytest.mark.parametrize(
    ("certainties", "severity", "code"),
    [(("certain",), "error", 1), (("likely", "possible"), "warning", 0), (("possible", "certain"), "error", 1)],
)
def test_what_cannot_be_settled_is_no_error(certainties: tuple[Any, ...], severity: str, code: int) -> None:
    def tank_may_leak(tank: Tank) -> Iterator[Finding]:
        """The tank may leak."""
        yield from (Finding("m", certainty=c, tell_apart=("look",)) for c in certainties)

    one = Check("STO909", ERROR, "tank-leaks", tank_may_leak, needs_of(tank_may_leak), "storage")
    result = check._judge(one, Snapshot("m", {"Tank": Tank(free_litres=1)}, "0"), {}, "", "")
    assert (result.severity, check.exit_code([result])) == (severity, code)


@pytest.mark.parametrize(("outcome", "plain", "strict"), [("unknown", 0, 3), ("crashed", 3, 3), ("found", 1, 1)])
def test_what_a_pasted_text_does_not_state_counts_only_when_strict(outcome: Any, plain: int, strict: int) -> None:
    results = [dataclasses.replace(one, pasted=True) for one in judged((outcome, "error"))]
    assert (check.exit_code(results), check.exit_code(results, strict=True)) == (plain, strict)


def test_only_the_chosen_codes_are_judged_in_order() -> None:
    snapshot = Snapshot("m", {"Tank": Tank(free_litres=1)}, "0")
    results = check.run(snapshot, {Journey: Journey(needed_litres=40)}, codes=["STO904", "STO901"])
    assert [r.code for r in results] == ["STO901", "STO904"]


def test_the_same_machine_gives_the_same_results() -> None:
    assert run(Tank(free_litres=1)) == run(Tank(free_litres=1))


def test_summary_counts_every_outcome_also_those_that_did_not_happen() -> None:
    results = tuple(run(Tank(free_litres=1)).values())
    assert check.summary(results) == {"ok": 3, "found": 1, "unknown": 0, "skipped": 0, "crashed": 1, "accepted": 0}


def judged(*pairs: tuple[Outcome, Severity]) -> list[Result]:
    found = (Finding("m"),)
    return [
        Result("STO901", "n", "storage", severity, "c", outcome, "", found if outcome == "found" else ())
        for outcome, severity in pairs
    ]


@pytest.mark.parametrize(
    ("outcomes", "plain", "strict"),
    [
        ([], 0, 0),
        ([("ok", "error"), ("skipped", "error"), ("accepted", "error")], 0, 0),
        ([("found", "error")], 1, 1),
        ([("found", "warning")], 0, 1),
        ([("found", "note")], 0, 0),
        ([("unknown", "error")], 3, 3),
        ([("unknown", "warning")], 0, 3),
        ([("unknown", "note")], 0, 3),
        ([("crashed", "note")], 3, 3),
        ([("crashed", "error"), ("unknown", "error"), ("found", "error")], 1, 1),
        ([("found", "warning"), ("unknown", "error")], 3, 1),
    ],
)
def test_exit_codes(outcomes: list[tuple[Outcome, Severity]], plain: int, strict: int) -> None:
    results = judged(*outcomes)
    assert (check.exit_code(results), check.exit_code(results, strict=True)) == (plain, strict)


def test_a_check_in_a_foreign_module_is_refused() -> None:
    def misplaced(tank: Tank) -> Iterator[Finding]:
        """It stands in the wrong room."""
        yield from ()

    misplaced.__module__ = "provision.checks.storage"
    with pytest.raises(TypeError, match=r"CUD901 does not belong in checks/storage\.py"):
        check.check("CUD901", ERROR, cause="tank-empty")(misplaced)
    with pytest.raises(TypeError, match="two checks are called STO901"):
        check.check("STO901", ERROR, cause="tank-empty")(misplaced)
    check.check("STO906", ERROR, cause="tank-empty")(misplaced)
    assert check.CHECKS["STO906"].name == "misplaced"
    assert check.CHECKS["STO906"].title == "It stands in the wrong room."
