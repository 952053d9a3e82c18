"""The collector: one file, run by real Pythons, whose output the doctor judges here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from provision import collector, facts, road
from provision.fact import PROBES

facts.load()
HERE = Path(__file__).parent
# What does not change from one second to the next.
STEADY = ("Cpu", "DebianPackages", "NvidiaCards", "NvidiaDriver", "System")


@pytest.fixture(scope="session")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The collector as the command writes it."""
    path = tmp_path_factory.mktemp("collector") / "provision-facts.pyz"
    subprocess.run([sys.executable, "-m", "provision", "facts", "--collector", path], check=True)
    return path


@pytest.fixture(scope="session")
def bare_pythons(pythons: dict[tuple[int, int], str], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """This Python, and 3.10 where this machine has it, each in an environment with no package at all."""
    made = []
    for version in sorted({sys.version_info[:2], *({(3, 10)} & set(pythons))}):
        folder = tmp_path_factory.mktemp("python") / "bare"
        subprocess.run([pythons[version], "-m", "venv", "--without-pip", folder], check=True)
        made.append(f"{folder}/bin/python3")
    return made


def run(python: str, pyz: Path, folder: Path) -> dict[str, Any]:
    done = subprocess.run([python, pyz], capture_output=True, text=True, cwd=folder, check=True)
    assert done.stderr == ""
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_it_sees_what_the_tool_sees_and_the_doctor_reads_it(pyz: Path, bare_pythons: list[str], tmp_path: Path) -> None:
    ours = road.look(STEADY).to_json()["facts"]
    for python in bare_pythons:
        snapshot = run(python, pyz, tmp_path)
        assert set(snapshot["facts"]) == set(PROBES)
        assert {name: snapshot["facts"][name] for name in STEADY} == ours
        assert [e["missing"] for e in snapshot["facts"].values() if "failed on this machine" in str(e)] == []
        assert snapshot["facts"]["Pythons"]["known"]["executable"] == python
        command = [sys.executable, "-m", "provision", "doctor", "--facts", "-", "--format", "json"]
        judged = subprocess.run(
            command, input=json.dumps(snapshot), capture_output=True, text=True, cwd=tmp_path, check=False
        )
        document = json.loads(judged.stdout)
        assert judged.returncode in (0, 1, 3)
        assert document["machine"] == os.uname().nodename
        assert document["summary"]["crashed"] == 0 and document["summary"]["ok"] > 0


def test_it_carries_the_binding_and_sees_gpus(
    pyz: Path, bare_pythons: list[str], tmp_path: Path, nvml_stub: Callable[[str], None]
) -> None:
    nvml_stub("h100")
    recorded = json.loads((HERE / "Gpus/h100.json").read_text())["expect"]
    assert [run(python, pyz, tmp_path)["facts"]["Gpus"] for python in bare_pythons] == [recorded] * len(bare_pythons)


def test_without_the_binding_the_gpus_are_missing_never_absent(
    pyz: Path, bare_pythons: list[str], tmp_path: Path, nvml_stub: Callable[[str], None]
) -> None:
    nvml_stub("h100")
    without = tmp_path / "without.pyz"
    with zipfile.ZipFile(pyz) as whole, zipfile.ZipFile(without, "w") as part:
        for name in whole.namelist():
            if name != "pynvml.py":
                part.writestr(name, whole.read(name))
    for python in bare_pythons:
        reason = f"{python} has no pynvml (package nvidia-ml-py), which asks the NVIDIA management library"
        assert run(python, without, tmp_path)["facts"]["Gpus"] == {"missing": reason}


def test_python_3_10_has_every_feature_it_uses(pyz: Path, tmp_path: Path) -> None:
    """By typeshed, which knows what each release of Python has: holds where no Python 3.10 is at hand too."""
    with zipfile.ZipFile(pyz) as archive:
        archive.extractall(tmp_path / "tree")
    shutil.move(tmp_path / "tree/pynvml.py", tmp_path)  # not ours, and without types
    for source in (tmp_path / "tree/provision").glob("*.py"):  # a name that only type checkers import
        source.write_text(
            source.read_text().replace("from typing import dataclass_", "from typing_extensions import dataclass_")
        )
    command = [sys.executable, "-m", "mypy", "--config-file=", "--python-version=3.10", "--ignore-missing-imports"]
    done = subprocess.run(
        [*command, "provision", "__main__.py"], capture_output=True, text=True, cwd=tmp_path / "tree", check=False
    )
    assert done.stdout.startswith("Success: "), done.stdout


def test_the_same_tool_makes_the_same_bytes(pyz: Path) -> None:
    assert collector.build() == collector.build() == pyz.read_bytes()
    assert os.access(pyz, os.X_OK)


def test_a_python_that_is_too_old_is_told_so_in_one_line(
    pyz: Path, pythons: dict[tuple[int, int], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for version, python in sorted(pythons.items()):
        if version < (3, 10):
            done = subprocess.run([python, pyz], capture_output=True, text=True, check=False)
            said = f"the collector needs Python 3.10 or newer; {python} is {version[0]}.{version[1]}. On Debian 12"
            assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
            assert done.stderr.startswith(said) and "apt-get install python3 " in done.stderr
    monkeypatch.setattr(sys, "version_info", (3, 9, 18))  # holds where no older Python is at hand too
    with pytest.raises(SystemExit, match=r"^the collector needs Python 3\.10 or newer; .* is 3\.9\."):
        exec(compile(collector.MAIN, "__main__.py", "exec"), {})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--collector", "nowhere/x.pyz"], "nowhere/x.pyz: cannot be written: No such file or directory"),
        (["--collector", "x.pyz", "--json"], "--collector writes a program, not facts"),
    ],
)
def test_a_wrong_use_is_one_line_and_exit_2(arguments: list[str], said: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "provision", "facts", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 2 and said in done.stderr and done.stdout == ""
    assert list(tmp_path.iterdir()) == []
