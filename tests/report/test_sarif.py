"""SARIF, held to the 2.1.0 schema and to what GitHub's code scanning asks beyond it."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest

from provision import cause, check
from provision.check import Finding
from provision.fact import Missing, Snapshot
from provision.report import sarif
from provision.report.layout import clean

SCHEMA = json.loads((Path(__file__).parent / "schemas" / "sarif-2.1.0.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def run_of(shown: Any) -> dict[str, Any]:
    document = json.loads(sarif.document(shown))
    VALIDATOR.validate(document)
    (run,) = document["runs"]
    return dict(run)


def test_the_validator_refuses_what_is_not_sarif(sample: SimpleNamespace) -> None:
    document = json.loads(sarif.document(sample.shown()))
    assert VALIDATOR.is_valid(document)
    document["runs"][0]["results"][0]["level"] = "fatal"
    assert not VALIDATOR.is_valid(document)


def test_a_result_per_finding_with_its_rule_and_place(sample: SimpleNamespace) -> None:
    run = run_of(sample.shown())
    found = [(r["ruleId"], r["level"], r["message"]["text"]) for r in run["results"]]
    assert found == [
        (
            "CUD003",
            "error",
            "driver 525.147 gives CUDA 12.0; torch 2.13.0 needs 580.65\n"
            "Fix: provision lock smoke-cu126\nFix: or: install driver 580",
        ),
        (
            "STO004",
            "warning",
            "/srv lies on sda, a rotating disk\nFix: move it\nTell apart: provision disk /srv",
        ),
        ("STO005", "warning", "/scratch is full"),
    ]
    for result in run["results"]:
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        (place,) = result["locations"]
        assert place["physicalLocation"]["artifactLocation"]["uri"] == "provision.toml"
        assert place["logicalLocations"] == [{"name": "gpu-07", "kind": "resource"}]
        assert len(result["partialFingerprints"]["provisionFinding/v1"]) == 64
        assert "baselineState" not in result
    assert run["results"][0]["properties"] == {
        "cause": "driver-too-old-for-cuda",
        "roadblock": "cuda",
        "certainty": "certain",
        "measured": {"driver": "525.147"},
        "needed": {"driver": "580.65"},
    }


def test_only_what_is_waived_is_suppressed(sample: SimpleNamespace) -> None:
    results = run_of(sample.shown())["results"]
    suppressed = {r["ruleId"]: r["suppressions"] for r in results if "suppressions" in r}
    assert suppressed == {
        "STO005": [{"kind": "external", "status": "accepted", "justification": "reviewed 2026-11-24"}]
    }


def test_what_could_not_be_looked_at_is_a_notification_and_never_lost(sample: SimpleNamespace) -> None:
    (invocation,) = run_of(sample.shown())["invocations"]
    told = [
        (n["associatedRule"]["id"], n["level"], n["message"]["text"]) for n in invocation["toolExecutionNotifications"]
    ]
    assert told == [
        ("CUD007", "warning", "could not look: no answer in 2 s"),
        ("ISO001", "error", "crashed: KeyError: 'x'"),
        ("MEM001", "warning", "could not look: permission denied"),
        ("MEM002", "warning", "could not look: permission denied"),
    ]
    assert invocation["executionSuccessful"] is False
    calm = [r for r in sample.RESULTS if r.outcome != "crashed"]
    assert run_of(sample.shown(results=calm))["invocations"][0]["executionSuccessful"] is True


def test_a_waiver_without_effect_and_a_waived_unknown_are_told(sample: SimpleNamespace) -> None:
    late = dataclasses.replace(sample.RESULTS[2], waiver="the waiver ended on 2026-01-01: moving")
    dark = dataclasses.replace(sample.RESULTS[1], outcome="accepted", reason="no root here (could not look: closed)")
    run = run_of(sample.shown(results=(late, dark), causes=()))
    assert run["results"] == []
    told = [n["message"]["text"] for n in run["invocations"][0]["toolExecutionNotifications"]]
    assert told == ["the waiver ended on 2026-01-01: moving", "accepted: no root here (could not look: closed)"]


def test_the_baseline_is_said(sample: SimpleNamespace) -> None:
    both = dataclasses.replace(sample.RESULTS[0], findings=(Finding("old", known=True), Finding("new")))
    run = run_of(sample.shown(results=(both,), baseline=True))
    assert [r["baselineState"] for r in run["results"]] == ["unchanged", "new"]


def test_the_fingerprint_outlives_a_measurement(sample: SimpleNamespace) -> None:
    def prints(*messages: str) -> list[str]:
        one = dataclasses.replace(sample.RESULTS[0], findings=tuple(Finding(m) for m in messages))
        return [
            r["partialFingerprints"]["provisionFinding/v1"] for r in run_of(sample.shown(results=(one,)))["results"]
        ]

    first, second, third = prints("/ has 4.2 GiB free", "/ has 3.9 GiB free", "/srv has 4.2 GiB free")
    assert first == second != third


def test_every_registered_check_is_a_rule_with_its_page(sample: SimpleNamespace) -> None:
    check.load()
    sections = {kind: Missing("dark") for one in check.CHECKS.values() for _, kind, _ in one.needs}
    results = check.run(Snapshot("m", {}, "0"), sections)
    run = run_of(sample.shown(results=results, causes=cause.causes(results)))
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == sorted(check.CHECKS)
    for rule in rules:
        assert rule["shortDescription"]["text"] == check.CHECKS[rule["id"]].title
        assert "## Fix" in rule["help"]["markdown"]
        assert not rule["fullDescription"]["text"].endswith("## Fix")
    # what GitHub shows at most of one run: 25,000 results, 10 tags a rule (docs.github.com, SARIF support)
    assert all(len(rule["properties"]["tags"]) <= 10 for rule in rules)


@pytest.mark.parametrize("strict", [False, True])
def test_hostile_text_is_data(sample: SimpleNamespace, strict: bool) -> None:
    run = run_of(sample.hostile_shown(strict=strict, spec_path="provision.toml"))
    shown = clean(sample.HOSTILE).replace("\udcff", "?")
    assert run["results"][0]["message"]["text"].splitlines()[0] == shown
    assert run["results"][0]["locations"][0]["logicalLocations"][0]["name"] == shown
    assert sarif.document(sample.hostile_shown()).isascii()


MULTITOOL = "@microsoft/sarif-multitool-linux@5.7.0"
# Of the package as npm's registry names it (npm view … dist.integrity, 2026-11-24).
MULTITOOL_SHA512 = "NxUbpq6ISCWoTQ/NfOYEwEDKq1Heka/rMoJ5R5LMydcAZQX/X7g5mWHcgxDub+0M07LC96tZ5LZHvF1Qy3gjTA=="


def test_microsofts_validator_finds_nothing_that_github_would_refuse(
    sample: SimpleNamespace, tmp_path: Path, npm_pack: Callable[[str, str], Path]
) -> None:
    """The SARIF SDK's own validator, with its rules of the standard and those of GitHub's code scanning."""
    with tarfile.open(npm_pack(MULTITOOL, MULTITOOL_SHA512)) as archive:
        archive.extractall(tmp_path, filter="data")
    program = tmp_path / "package" / "Sarif.Multitool"
    program.chmod(0o755)
    broken = json.loads(sarif.document(sample.shown()))
    del broken["runs"][0]["results"][0]["locations"]
    written = {
        "plain": sarif.document(sample.shown()),
        "baseline": sarif.document(sample.shown(baseline=True)),
        "hostile": sarif.document(sample.hostile_shown()),
        "broken": json.dumps(broken),
    }
    found: dict[str, list[str]] = {}
    for name, document in written.items():
        (tmp_path / f"{name}.sarif").write_text(document)
        command = [str(program), "validate", f"{name}.sarif", "--rule-kind", "Sarif;Ghas", "-o", f"{name}.out"]
        quiet = {**os.environ, "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1", "HOME": str(tmp_path)}
        subprocess.run(command, cwd=tmp_path, env=quiet, check=False, capture_output=True, timeout=120)
        (run,) = json.loads((tmp_path / f"{name}.out").read_text(encoding="utf-8-sig"))["runs"]
        found[name] = sorted({result["ruleId"] for result in run["results"]})
    # SARIF2005: the tool names no home page; it has none yet.
    assert [found[name] for name in ("plain", "baseline", "hostile")] == [["SARIF2005"]] * 3
    assert any(rule.startswith("GH") for rule in found["broken"])
