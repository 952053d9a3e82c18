"""A Python that is too old is refused in one line that names the package, by real old Pythons where there are any."""

from __future__ import annotations

import ast
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GATE = ROOT / ".ci/python_is_new_enough.py"
SAID = "provision needs Python 3.11 or newer; {python} is {version}. On Debian 12"


def refused(said: str, python: str, version: tuple[int, int]) -> bool:
    """Whether this is the one line, with the Python that was tried and the package to install."""
    start = SAID.format(python=python, version=".".join(map(str, version)))
    return said.count("\n") == 1 and said.startswith(start) and "apt-get install python3 python3-venv" in said


def test_every_older_python_of_this_machine_says_so(pythons: dict[tuple[int, int], str]) -> None:
    for version, python in sorted(pythons.items()):
        done = subprocess.run([python, GATE], capture_output=True, text=True, check=False)
        if version < (3, 11):
            assert done.returncode == 1 and done.stdout == ""
            assert refused(done.stderr, python, version)
        elif python == sys.executable:
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("version", [(2, 7, 18), (3, 6, 15), (3, 10, 13)])
def test_the_answer_holds_where_no_old_python_is_at_hand(
    version: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", version)
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(GATE))
    assert refused(f"{stopped.value.code}\n", sys.executable, version[:2])


def test_the_gate_uses_no_syntax_that_an_old_python_lacks() -> None:
    """The oldest grammar that the parser knows, and none of what came between Python 2.7 and that."""
    tree = ast.parse(GATE.read_text(), feature_version=(3, 4))
    newer = (ast.JoinedStr, ast.AnnAssign, ast.AsyncFunctionDef, ast.Nonlocal, ast.Starred, ast.NamedExpr)
    assert [node for node in ast.walk(tree) if isinstance(node, newer)] == []
    assert not [
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"
    ]


def test_make_stops_before_it_makes_anything(pythons: dict[tuple[int, int], str], tmp_path: Path) -> None:
    (tmp_path / ".ci").mkdir()
    for name in ("Makefile", "pyproject.toml", ".ci/python_is_new_enough.py", "lockfiles/tool-py311.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    old = min(pythons)
    python = pythons[old]
    if old >= (3, 11):  # stands in for an old one: the same gate, told another version
        python = str(tmp_path / "old-python")
        trick = (
            f"import sys, runpy; sys.version_info = (3, 9, 2); sys.executable = {python!r}; runpy.run_path(sys.argv[1])"
        )
        Path(python).write_text(f'#!/bin/sh\nexec {sys.executable} -c "{trick}" "$@"\n')
        Path(python).chmod(0o755)
        old = (3, 9)
    command = ["make", "venv", f"PYTHON={python}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert done.returncode == 2 and done.stdout == ""
    assert refused("\n".join(said) + "\n", python, old)
    assert not (tmp_path / ".venv").exists()
