"""What a killed run leaves is finished by the next one; what others write meanwhile is left alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from provision import leftovers

LINE = '{"changed": true}\n'


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that was killed while Ansible wrote its second result and a file was being written."""
    run = tmp_path / "runs/0001"
    (run / "ansible").mkdir(parents=True)
    (run / "ansible/results.jsonl").write_text(f'{LINE}{{"chan')
    (run / ".check-x").mkdir()
    (run / "rendered").mkdir()
    for name in (".plan.json.x.part", "rendered/.vars.yml.x.part"):
        (run / name).write_text("{")
    return run


def told(run: Path, **content: object) -> None:
    (run / "run.json").write_text(json.dumps({"schema": 1, **content}))


def names(run: Path) -> list[str]:
    return sorted(str(p.relative_to(run)) for p in run.rglob("*") if p.is_file())


@pytest.mark.parametrize("command", ["up", "apply", "verify"])
def test_a_killed_run_keeps_what_was_done_and_nothing_half_written(run: Path, command: str) -> None:
    told(run, command=command)
    leftovers.clear(run.parent)
    assert names(run) == ["apply.jsonl", "run.json"]
    assert not (run / "ansible").exists() and not (run / ".check-x").exists()
    assert (run / "apply.jsonl").read_text() == LINE
    said = json.loads((run / "run.json").read_text())
    assert (said["exit"], said["error"]) == (None, "killed before it could say how it ended")
    before = (run / "run.json").stat().st_mtime_ns
    leftovers.clear(run.parent)
    assert (run / "run.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("content", [None, {"command": "plan"}, {"command": "up", "ended": "2026-11-24T16:08:46Z"}])
def test_what_another_command_may_be_writing_stays(run: Path, content: dict[str, object] | None) -> None:
    if content is not None:
        told(run, **content)
    leftovers.clear(run.parent)
    assert {".plan.json.x.part", "rendered/.vars.yml.x.part"} <= set(names(run))
    assert "error" not in (json.loads((run / "run.json").read_text()) if content else {})


def test_results_that_are_there_already_are_not_replaced(run: Path) -> None:
    (run / "apply.jsonl").write_text("first\n")
    leftovers.clear(run.parent)
    assert (run / "apply.jsonl").read_text() == "first\n"
    assert not (run / "ansible").exists()
