"""Installed from the wheel or editable, and run from outside the checkout, the tool does what it does in the checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from provision import __version__

ROOT = Path(__file__).parents[2]
SNAPSHOT = ROOT / "tests/machines/gpu-h100.json"


@pytest.fixture(scope="module", params=["wheel", "editable"])
def python(
    request: pytest.FixtureRequest,
    built: Path,
    export: Path,
    install: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """An environment's Python with the tool installed in one of the two ways."""
    if request.param == "wheel":
        (wheel,) = built.glob("*.whl")
        return install(wheel)
    return install("--editable", shutil.copytree(export, tmp_path_factory.mktemp("editable") / "tree", symlinks=True))


def run(command: list[str | Path], folder: Path, codes: tuple[int, ...] = (0,)) -> str:
    """The command's output, in a folder and an environment from which nothing leads to the checkout."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(command, cwd=folder, env=kept, capture_output=True, text=True, check=False)
    assert done.returncode in codes, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_what_is_imported_is_what_was_installed(python: Path, tmp_path: Path) -> None:
    show = "import provision, provision.checks, provision.templates; print(provision.checks.__file__)"
    place = Path(run([python, "-c", show], tmp_path).strip())
    assert place.is_relative_to(python.parents[1]) or "editable" in place.parts[-5]
    assert not place.is_relative_to(ROOT)


def test_only_the_package_is_added(python: Path) -> None:
    (place,) = (python.parents[1] / "lib").glob("python3.*/site-packages")
    added = {path.name for path in place.iterdir()} - {"the-tests-own.pth"}
    ours = {name for name in added if not name.startswith(("__editable__", "__pycache__"))}
    assert ours - {"provision"} == {f"llm_provision-{__version__}.dist-info"}


def test_it_says_its_version_and_help(python: Path, tmp_path: Path) -> None:
    provision = python.parent / "provision"
    assert run([provision, "--version"], tmp_path) == f"provision, version {__version__}\n"
    assert "Usage: provision " in run([provision, "--help"], tmp_path)


def test_it_examines_this_machine(python: Path, tmp_path: Path) -> None:
    document = json.loads(run([python.parent / "provision", "doctor", "--format", "json"], tmp_path, (0, 1, 3)))
    assert document["summary"]["crashed"] == 0
    assert document["summary"]["ok"] > 0
    assert list(tmp_path.iterdir()) == []


def test_every_page_is_the_checkouts(python: Path, tmp_path: Path) -> None:
    assert run([python, "-m", "provision", "explain", "--all"], tmp_path) == run(
        [sys.executable, "-m", "provision", "explain", "--all"], tmp_path
    )


def test_plan_and_rendered_files_are_the_checkouts_byte_for_byte(python: Path, tmp_path: Path) -> None:
    trees = []
    for name, interpreter in (("installed", str(python)), ("checkout", sys.executable)):
        folder = tmp_path / name
        folder.mkdir()
        tool = [interpreter, "-m", "provision"]
        run([*tool, "plan", "--facts", SNAPSHOT], folder)
        (latest,) = (folder / ".provision").glob("*/latest")
        run([*tool, "render", "--run", latest], folder)
        (latest / "run.json").unlink()  # who and when
        trees.append(files(latest.resolve()))
    assert {"plan.json", "rendered/image/Dockerfile", "rendered/files/etc/docker/daemon.json"} <= set(trees[0])
    assert trees[0] == trees[1]


def test_it_writes_the_same_collector(python: Path, tmp_path: Path) -> None:
    for name, interpreter in (("installed", str(python)), ("checkout", sys.executable)):
        run([interpreter, "-m", "provision", "facts", "--collector", f"{name}.pyz"], tmp_path)
    assert (tmp_path / "installed.pyz").read_bytes() == (tmp_path / "checkout.pyz").read_bytes()
