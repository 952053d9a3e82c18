"""The project as others get it: built from a clean export, installed where this checkout is out of reach."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What git would hand out (its index, so that a change is tested before it is committed): nothing that lies about."""
    folder = tmp_path_factory.mktemp("export") / "tree"
    subprocess.run(["git", "checkout-index", "--all", f"--prefix={folder}/"], cwd=ROOT, check=True)
    return folder


@pytest.fixture(scope="session")
def built(export: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel made from that sdist, built without a network."""
    folder = tmp_path_factory.mktemp("built")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, export]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="session")
def install(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``install(wheel)``: a fresh environment's Python with only that in it, and without a network.

    What it depends on comes from the tests' own environment, added behind its own packages by a path file: it is the
    lock's, and an editable install of this checkout is not followed from there.
    """

    def into_fresh(*what: str | Path) -> Path:
        environment = tmp_path_factory.mktemp("installed") / "venv"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
        python = environment / "bin/python"
        place = sysconfig.get_path("purelib", vars={"base": str(environment)})
        Path(place, "the-tests-own.pth").write_text(sysconfig.get_path("purelib") + "\n")
        pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", "install", "-q"]
        offline = ["--no-deps", "--no-index", "--no-build-isolation"]
        done = subprocess.run([*pip, *offline, *what], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return python

    return into_fresh
