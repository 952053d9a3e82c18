"""The contract's JSON, held to its shipped schema by a validator that is not ours."""

from __future__ import annotations

import copy
import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest

from provision import cause, check
from provision.check import Finding, Result
from provision.fact import Missing, Snapshot
from provision.report import machine

VALIDATOR = jsonschema.Draft202012Validator(machine.schema())


def valid(document: Any) -> bool:
    return bool(VALIDATOR.is_valid(document))


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(machine.schema())


def test_the_output_is_the_contracts_to_the_key(sample: SimpleNamespace) -> None:
    """Key sets and their order as in the contract's example."""
    document = json.loads(machine.doctor("gpu-07", sample.RESULTS, sample.CAUSES))
    VALIDATOR.validate(document)
    assert list(document) == ["schema", "machine", "summary", "causes", "results"]
    assert list(document["summary"]) == list(check.OUTCOMES)
    causes = ["cause", "codes", "severity", "certainty", "tell_apart", "because", "fix", "also"]
    assert [list(c) for c in document["causes"]] == [causes] * 2
    results = ["code", "name", "roadblock", "severity", "cause", "outcome", "reason", "findings"]
    assert [list(r) for r in document["results"]] == [results] * len(sample.RESULTS)
    findings = [f for r in document["results"] for f in r["findings"]]
    assert [list(f) for f in findings] == [["message", "measured", "needed", "fix"]] * 3
    assert document["results"][0]["findings"][0] == {
        "message": "driver 525.147 gives CUDA 12.0; torch 2.13.0 needs 580.65",
        "measured": {"driver": "525.147"},
        "needed": {"driver": "580.65"},
        "fix": ["provision lock smoke-cu126", "or: install driver 580"],
    }


def test_a_known_finding_and_a_waiver_without_effect_are_keys_more(sample: SimpleNamespace) -> None:
    finding = dataclasses.replace(sample.RESULTS[0].findings[0], known=True)
    late = dataclasses.replace(sample.RESULTS[0], findings=(finding,), waiver="the waiver ended")
    document = machine.document("m", (late,), ())
    VALIDATOR.validate(document)
    (result,) = document["results"]
    assert (result["waiver"], result["findings"][0]["known"]) == ("the waiver ended", True)


def test_the_summary_counts_the_results(sample: SimpleNamespace) -> None:
    document = machine.document("m", sample.RESULTS, sample.CAUSES)
    outcomes = [r["outcome"] for r in document["results"]]
    assert document["summary"] == {outcome: outcomes.count(outcome) for outcome in check.OUTCOMES}


def test_every_registered_check_on_a_machine_nobody_could_look_at() -> None:
    """Every real check at once: each fact missing, so every code and name meets the schema."""
    check.load()
    sections = {kind: Missing("dark") for one in check.CHECKS.values() for _, kind, _ in one.needs}
    results = check.run(Snapshot("m", {}, "0"), sections)
    VALIDATOR.validate(json.loads(machine.doctor("m", results, cause.causes(results))))
    assert len(results) == len(check.CHECKS) > 0


def test_what_the_command_says_about_this_machine_meets_the_schema() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "provision", "doctor", "--format", "json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    document = json.loads(done.stdout)
    VALIDATOR.validate(document)
    assert len(document["results"]) == sum(document["summary"].values()) > 0
    assert done.returncode in (0, 1, 3)


def cut(document: Any, *path: Any) -> None:
    """Remove what stands at the end of a path."""
    for step in path[:-1]:
        document = document[step]
    del document[path[-1]]


def put(value: Any, *path: Any) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        for step in path[:-1]:
            document = document[step]
        document[path[-1]] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        put(2, "schema"),
        put("many", "summary", "ok"),
        put(-1, "summary", "ok"),
        put("fine", "results", 0, "outcome"),
        put("fatal", "results", 0, "severity"),
        put("gpu", "results", 0, "roadblock"),
        put("CUD3", "results", 0, "code"),
        put([], "results", 0, "findings"),  # found, with nothing found
        put("", "results", 1, "reason"),  # unknown, without its reason
        put(
            [{"message": "m", "measured": {}, "needed": {}, "fix": []}], "results", 2, "findings"
        ),  # ok, with a finding
        put("", "results", 0, "findings", 0, "message"),
        put("do it", "results", 0, "findings", 0, "fix"),
        put([], "causes", 0, "codes"),
        put([], "causes", 0, "because"),
        put("sure", "causes", 0, "certainty"),
        put("error", "causes", 1, "severity"),  # not certain, and called an error
        put([], "causes", 1, "tell_apart"),  # not certain, and nothing that would settle it
    ],
)
def test_the_schema_refuses_what_the_contract_does_not_allow(
    sample: SimpleNamespace, change: Callable[[Any], None]
) -> None:
    document = machine.document("m", sample.RESULTS, sample.CAUSES)
    assert valid(document)
    change(document)
    assert not valid(document)


def test_every_key_is_required(sample: SimpleNamespace) -> None:
    whole = machine.document("m", sample.RESULTS, sample.CAUSES)
    places: list[tuple[Any, ...]] = [(k,) for k in whole]
    places += [("summary", k) for k in whole["summary"]]
    places += [("causes", 0, k) for k in whole["causes"][0]]
    places += [("results", 0, k) for k in whole["results"][0]]
    places += [("results", 0, "findings", 0, k) for k in whole["results"][0]["findings"][0]]
    for place in places:
        document = copy.deepcopy(whole)
        cut(document, *place)
        assert not valid(document), place


def test_a_later_version_may_add_keys(sample: SimpleNamespace) -> None:
    document = machine.document("m", sample.RESULTS, sample.CAUSES)
    document["new"] = document["causes"][0]["new"] = document["results"][0]["new"] = 1
    assert valid(document)


def test_hostile_text_is_data_that_any_parser_takes(sample: SimpleNamespace) -> None:
    run = sample.hostile_run()
    written = machine.doctor(run.machine, run.results, run.causes)
    assert written.isascii()
    assert "\x1b" not in written
    document = json.loads(written)
    VALIDATOR.validate(document)
    assert document["machine"] == sample.HOSTILE.replace("\udcff", "?")


def test_a_number_that_json_lacks_is_refused_not_written() -> None:
    result = Result("STO001", "n", "storage", "error", "c", "found", "", (Finding("m", {"share": float("nan")}),))
    with pytest.raises(ValueError, match="not JSON compliant"):
        machine.doctor("m", [result], ())


def test_the_same_results_give_the_same_bytes(sample: SimpleNamespace) -> None:
    assert machine.doctor("m", sample.RESULTS, sample.CAUSES) == machine.doctor("m", sample.RESULTS, sample.CAUSES)


def test_explain_is_json() -> None:
    assert json.loads(machine.explain())["schema"] == 1
