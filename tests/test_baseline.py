"""What was found before is known again, and only what is new fails."""

from __future__ import annotations

import collections
import json
from pathlib import Path
from typing import Any

import pytest

from provision import baseline, check
from provision.baseline import fingerprint
from provision.check import Finding, Outcome, Result
from provision.errors import UsageError
from provision.report import machine


def result(code: str, *messages: str, outcome: Outcome = "found", reason: str = "") -> Result:
    return Result(code, "n", "storage", "error", "disk-full", outcome, reason, tuple(Finding(m) for m in messages))


def kept(tmp_path: Path, *results: Result) -> collections.Counter[str]:
    """What is read back from the doctor's own JSON of these results."""
    path = tmp_path / "findings.json"
    path.write_text(machine.doctor("m", results, ()), encoding="utf-8")
    return baseline.read(path)


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("/ has 4.2 GiB free; 8 GiB are needed", "/ has 913 MiB free; 8.5 GiB are needed"),
        ("the disk is 91 % full", "the disk is 99.5% full"),
        ("no answer in 2 s", "no answer in 2.5 s"),
        ("/ has 5,000 free inodes", "/ has 12 free inodes"),
        ("it reads 120 MiB/s", "it reads 80.1 MiB/s"),
        ("GPU 3 is at 91 °C", "GPU 3 is at 88 °C"),
    ],
)
def test_a_measurement_that_moved_is_the_same_finding(before: str, now: str) -> None:
    assert fingerprint("STO001", before) == fingerprint("STO001", now)


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("GPU 3 has failed", "GPU 5 has failed"),
        ("7 GPUs are there; 8 are expected", "6 GPUs are there; 8 are expected"),
        ("driver 525.147 is too old", "driver 535.54 is too old"),
        ("port 8000 is taken", "port 8001 is taken"),
        ("0000:01:00.0 runs on 8 of its 16 PCIe lanes", "0000:01:00.0 runs on 4 of its 16 PCIe lanes"),
        ("/srv has 1 GiB free", "/var has 1 GiB free"),
        ("Xid 79 was logged", "Xid 31 was logged"),
    ],
)
def test_another_thing_or_fewer_of_it_is_new(before: str, now: str) -> None:
    assert fingerprint("STO001", before) != fingerprint("STO001", now)


def test_the_same_words_of_another_check_are_new() -> None:
    assert fingerprint("STO001", "full") != fingerprint("STO002", "full")


def test_only_what_is_new_fails(tmp_path: Path) -> None:
    before = kept(tmp_path, result("STO001", "/ has 4 GiB free"))
    old, new = result("STO001", "/ has 3 GiB free"), result("STO002", "no inode left")
    marked = baseline.mark((old, new), before)
    assert [r.known for r in marked] == [True, False]
    assert check.exit_code(marked[:1]) == check.exit_code(marked[:1], strict=True) == 0
    assert check.exit_code(marked) == 1
    assert check.exit_code((old,)) == 1


def test_a_second_finding_of_the_same_words_is_new(tmp_path: Path) -> None:
    before = kept(tmp_path, result("STO001", "a card has 4 GiB free"))
    (one,) = baseline.mark((result("STO001", "a card has 3 GiB free", "a card has 2 GiB free"),), before)
    assert [f.known for f in one.findings] == [True, False]
    assert one.fails()


def test_marking_twice_gives_the_same_and_keeps_the_baseline(tmp_path: Path) -> None:
    before = kept(tmp_path, result("STO001", "full"))
    results = (result("STO001", "full"),)
    assert baseline.mark(results, before) == baseline.mark(results, before)


def test_what_could_not_be_looked_at_is_never_known(tmp_path: Path) -> None:
    dark = result("STO001", outcome="unknown", reason="closed")
    marked = baseline.mark((dark,), kept(tmp_path, dark))
    assert check.exit_code(marked) == 3


def test_what_was_waived_then_is_new_once_its_waiver_has_ended(tmp_path: Path) -> None:
    before = kept(tmp_path, result("STO001", "full", outcome="accepted", reason="moving"))
    assert baseline.mark((result("STO001", "full"),), before)[0].fails()


def test_the_json_says_which_findings_are_known(tmp_path: Path) -> None:
    marked = baseline.mark((result("STO001", "old", "new"),), kept(tmp_path, result("STO001", "old")))
    findings = machine.document("m", marked, ())["results"][0]["findings"]
    assert [f.get("known") for f in findings] == [True, None]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "no baseline: Expecting value"),
        ("[]", "no baseline: another shape"),
        ('{"schema": 2}', "no baseline: schema 2; this version reads 1"),
        ('{"schema": 1}', "no baseline: no 'results' in it"),
        ('{"schema": 1, "results": [{"code": "STO001", "outcome": "found"}]}', "no baseline: no 'findings' in it"),
        ('{"schema": 1, "results": 3}', "no baseline: another shape"),
    ],
)
def test_what_is_no_baseline_is_said(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "old.json"
    path.write_text(content)
    with pytest.raises(UsageError) as caught:
        baseline.read(path)
    assert says in caught.value.message
    assert caught.value.next_command == f"provision doctor --format json -o {path}"


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        baseline.read(tmp_path / "none.json")


def test_a_baseline_of_this_machine_silences_all_it_found(tmp_path: Path) -> None:
    run: Any = machine.document("m", [result("STO001", "a"), result("STO002", "b")], ())
    (tmp_path / "f.json").write_text(json.dumps(run))
    before = baseline.read(tmp_path / "f.json")
    assert before == collections.Counter({"STO001 a": 1, "STO002 b": 1})
