"""The stub management library, compiled once, and the way to stand a process before it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from .scenario import SCENARIOS

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def nvml_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with our libnvidia-ml.so.1."""
    folder = tmp_path_factory.mktemp("nvml")
    library = folder / "libnvidia-ml.so.1"
    subprocess.run(
        ["gcc", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", library, HERE / "nvml_stub.c"], check=True
    )
    return folder


@pytest.fixture
def nvml_stub(nvml_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """``nvml_stub("h100")`` or ``nvml_stub(machine([…]))``: from here on, children find that machine's library."""

    def choose(scenario: str) -> None:
        file = tmp_path / "scenario"
        file.write_text(SCENARIOS.get(scenario, scenario))
        monkeypatch.setenv("LD_LIBRARY_PATH", str(nvml_folder))
        monkeypatch.setenv("NVML_STUB", str(file))

    return choose
