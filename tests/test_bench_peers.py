"""Which commands the bench measures the doctor beside, without timing any."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.bench import peers


def venv(folder: Path, *files: str) -> str:
    for file in files:
        path = folder / "lib/python3.11/site-packages" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return str(folder / "bin/python")


def test_a_peer_is_run_by_the_first_interpreter_that_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smoke = venv(tmp_path / "smoke", "torch/utils/collect_env.py")
    other = venv(tmp_path / "other", "torch/utils/collect_env.py", "deepspeed/env_report.py")
    monkeypatch.setenv("PROVISION_SMOKE_PYTHON", smoke)
    monkeypatch.setenv("PROVISION_BENCH_PEERS", f"{other}:")
    assert peers.interpreters() == [smoke, other]
    assert peers.installed(peers.interpreters()) == {
        peers.COLLECT_ENV: [smoke, "-m", "torch.utils.collect_env"],
        "ds_report": [other, "-m", "deepspeed.env_report"],
    }


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("pass", ""),
        ("raise ValueError('no CUDA here')", "exit 1, ValueError: no CUDA here"),
        ("import sys; sys.exit('cannot')", "exit 1, cannot"),
    ],
)
def test_a_peer_that_gives_no_answer_says_why(program: str, why: str) -> None:
    assert peers.failure([sys.executable, "-c", program]) == why


def test_what_is_not_in_the_table_is_said() -> None:
    assert peers.left_out([], {}) == ""
    assert peers.left_out(["ds_report"], {"rapids doctor": "exit 1, E: x"}) == (
        "`rapids doctor` is installed and gives no answer on this machine: `exit 1, E: x`. "
        "Not installed: `ds_report` (`PROVISION_BENCH_PEERS` in `tests/bench/peers.py`)."
    )
