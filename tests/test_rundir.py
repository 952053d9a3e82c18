"""The run directory: numbered, whole, found again."""

from __future__ import annotations

from pathlib import Path

import pytest

from provision import rundir
from provision.errors import UsageError


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_runs_are_numbered_and_latest_follows() -> None:
    first, second = rundir.new("gpu-07"), rundir.new("gpu-07")
    assert (first.number, second.number) == ("0001", "0002")
    assert rundir.latest("gpu-07").path == second.path.resolve()  # type: ignore[union-attr]


def test_a_gap_is_not_filled() -> None:
    rundir.new("m")
    second = rundir.new("m")
    (second.path.parent / "0001").rmdir()
    assert rundir.new("m").number == "0003"


@pytest.mark.parametrize("name", ["../../etc", "a b", "{{ x }}", "$(id)", "", "x" * 200, "a\x00b"])
def test_a_hostile_machine_name_stays_inside_the_folder(name: str, tmp_path: Path) -> None:
    folder = rundir.folder_name(name)
    assert "/" not in folder
    assert folder not in ("", ".", "..")
    assert len(folder) < 64
    rundir.new(name)
    assert [p.name for p in (tmp_path / ".provision").iterdir()] == [folder]


def test_names_that_look_alike_get_different_folders() -> None:
    assert rundir.folder_name("a b") != rundir.folder_name("a  b")


def test_find_says_what_it_expected() -> None:
    with pytest.raises(UsageError, match="no run of 'gpu-07'"):
        rundir.find("gpu-07", None)
    run = rundir.new("gpu-07")
    run.write("run.json", {"schema": 1})
    assert rundir.find("gpu-07", "1").path == run.path.resolve()
    assert rundir.find("gpu-07", str(run.path)).path == run.path.resolve()
    with pytest.raises(UsageError, match="run '9': not found"):
        rundir.find("gpu-07", "9")


def test_a_missing_noun_names_the_command_that_makes_it() -> None:
    with pytest.raises(UsageError) as caught:
        rundir.new("m").plan()
    assert caught.value.next_command == "provision plan"
