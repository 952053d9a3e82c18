"""Every recording under tests/facts/<Fact>/ gives the fact, or the reason, that stands beside it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from provision import codec, facts
from provision.fact import FACTS, PASTED, PROBES, Snapshot, collect
from provision.recorded import RecordedHost

facts.load()
HERE = Path(__file__).parent
CASES = sorted(HERE.glob("*/*.json"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_recording(path: Path) -> None:
    case = json.loads(path.read_text())
    name = path.parent.name
    found = collect(RecordedHost(case["answers"]), "recorded", "0", [name]).to_json()["facts"][name]
    assert found == case["expect"]


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_recorded_fact_survives_the_snapshot(path: Path) -> None:
    name, expected = path.parent.name, json.loads(path.read_text())["expect"]
    snapshot = {"schema": 1, "tool_version": "0", "machine": "m", "facts": {name: expected}}
    assert Snapshot.from_json(snapshot).to_json()["facts"] == {name: expected}
    if "known" in expected:
        assert codec.dump(codec.load(FACTS[name], expected["known"])) == expected["known"]


@pytest.mark.parametrize("name", sorted(PROBES))
def test_every_probe_has_a_good_and_a_bad_recording(name: str) -> None:
    states = {next(iter(json.loads(path.read_text())["expect"])) for path in (HERE / name).glob("*.json")}
    assert "known" in states
    assert states & {"absent", "missing"}


def test_every_fact_has_a_probe_and_every_folder_a_fact() -> None:
    assert set(FACTS) - PASTED == set(PROBES)
    assert {path.parent.name for path in CASES} == set(PROBES)


@pytest.mark.parametrize("name", sorted(PROBES))
def test_every_probe_names_its_source(name: str) -> None:
    assert re.search(r"^Sources?: ", PROBES[name].doc, re.MULTILINE)


def test_no_crash_is_recorded_as_an_answer() -> None:
    assert not [path.name for path in CASES if "failed on this machine" in path.read_text()]
