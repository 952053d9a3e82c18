"""The sdist and the wheel hold the tree, all of it and nothing else."""

from __future__ import annotations

import email
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from provision import __version__

INFO = f"llm_provision-{__version__}.dist-info"


@pytest.fixture(scope="module")
def wheel(built: Path) -> dict[str, bytes]:
    """The wheel's files by name."""
    (path,) = built.glob("*.whl")
    assert path.name == f"llm_provision-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def tree(export: Path) -> dict[str, bytes]:
    """Every file of the package, the four linked folders followed."""
    found = {}
    for folder, _, files in os.walk(export / "provision", followlinks=True):
        for name in files:
            path = Path(folder, name)
            found[str(path.relative_to(export))] = path.read_bytes()
    return found


def test_the_export_is_clean_and_has_what_is_easily_left_out(export: Path) -> None:
    names = set(tree(export))
    assert not [name for name in names if "__pycache__" in name]
    assert {
        "provision/checks/README.md",
        "provision/templates/dependencies/etc/docker/daemon.json.j2",
        "provision/playbooks/.ansible-lint",
        "provision/playbooks/roles/dependencies/tasks/main.yml",
        "provision/lockfiles/tool-py311.txt",
        "provision/catalog/causes.toml",
        "provision/payload/smoke/model/model.safetensors",
    } <= names


def test_the_wheel_holds_the_tree_byte_for_byte(wheel: dict[str, bytes], export: Path) -> None:
    held = {name: data for name, data in wheel.items() if name.startswith("provision/")}
    expected = tree(export)
    assert sorted(set(held) ^ set(expected)) == []
    assert [name for name in expected if held[name] != expected[name]] == []


def test_the_wheel_adds_only_the_package(wheel: dict[str, bytes]) -> None:
    assert {name.split("/")[0] for name in wheel} == {"provision", INFO}


def test_the_metadata_is_the_projects(wheel: dict[str, bytes], export: Path) -> None:
    said = email.message_from_bytes(wheel[f"{INFO}/METADATA"])
    assert (said["Name"], said["Version"], said["Requires-Python"]) == ("llm-provision", __version__, ">=3.11")
    assert wheel[f"{INFO}/licenses/LICENSE"] == (export / "LICENSE").read_bytes()
    assert wheel[f"{INFO}/entry_points.txt"].decode().split() == [
        *("[console_scripts]", "provision", "=", "provision.cli:main")
    ]
    assert any(line.startswith("ansible-core") for line in said.get_all("Requires-Dist", []))


def test_a_wheel_built_without_the_sdist_is_the_same(wheel: dict[str, bytes], export: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", tmp_path, export]
    subprocess.run(command, capture_output=True, check=True)
    (path,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == wheel


def test_the_sdist_holds_what_the_wheel_is_made_from(built: Path, export: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    prefix = f"llm_provision-{__version__}/"
    with tarfile.open(path) as archive:
        names = {m.name.removeprefix(prefix) for m in archive.getmembers() if not m.isdir()}
        assert not [m.name for m in archive.getmembers() if m.islnk() or m.issym()]
    assert set(tree(export)) <= names
    assert {"pyproject.toml", "README.md", "LICENSE"} <= names
