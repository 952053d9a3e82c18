"""The locks in git can be installed: every one by its target's rules from metadata, those without CUDA really."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from provision import index, wheelhouse
from provision.index import IndexSettings
from provision.lock import make, pylock, text, variants
from provision.lock.pages import Pages
from provision.lock.variants import Variant

ROOT = Path(__file__).parents[2]
LOCKFILES = ROOT / "lockfiles"
CACHE = Path(os.environ.get("PROVISION_CACHE", Path.home() / ".cache/provision"))
HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
INSTALLED = ("tool-py311", "test-py311", "smoke-cpu-py311", "serve-cpu-py311")


def uv(*words: str | Path, settings: IndexSettings, **environment: str) -> subprocess.CompletedProcess[str]:
    from uv import find_uv_bin

    where = {**index.uv_environment(settings, os.environ), **environment}
    return subprocess.run(
        [find_uv_bin(), "pip", "install", *map(str, words), *index.uv_arguments(settings)],
        env=where,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.network
@pytest.mark.parametrize("variant", variants.load(), ids=lambda variant: variant.name)
def test_a_lock_is_complete_for_its_target(variant: Variant, tmp_path: Path) -> None:
    """Its whole closure, by metadata alone: the GPU wheels are gigabytes. uv asks for hashes then, and compares none."""
    lock = LOCKFILES / f"{variant.name}.txt"
    done = uv(
        *("--require-hashes", "--dry-run", "--only-binary", ":all:", "--target", tmp_path / "nowhere", "-r", lock),
        *("--python", sys.executable, "--python-version", variant.target.python),
        *("--python-platform", f"{variant.target.machine}-manylinux_{variant.target.glibc.replace('.', '_')}"),
        settings=make.indexes_for(variant, ROOT / "pyproject.toml"),
    )
    assert done.returncode == 0, done.stderr
    would = {line.removeprefix(" + ") for line in done.stderr.splitlines() if line.startswith(" + ")}
    assert would == {f"{pin.name}=={pin.version}" for pin in text.parse(lock.read_text()).pins}
    assert not [*(tmp_path / "nowhere").glob("*.dist-info")]


@pytest.mark.network
def test_every_wheel_that_a_target_loads_is_offered_with_its_hash() -> None:
    locks = {each: pylock.parse((LOCKFILES / pylock.filename(each.name)).read_text()) for each in variants.load()}
    pages = Pages(make.indexes_for(variants.find("smoke-cpu-py311"), ROOT / "pyproject.toml"))
    pages.read({package.name for lock in locks.values() for package in lock.packages})
    gone = [
        (variant.name, wheel.filename)
        for variant, lock in locks.items()
        for package in lock.packages
        for wheel in package.wheels
        if wheel.sha256 not in {pages.sha256(each) for each in pages.wheels(package.name, package.version)}
    ]
    assert gone == []
    assert sum(len(lock.packages) for lock in locks.values()) > 500


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``site(name)``: a folder with a lock's PEP 751 form and, beside it, the wheelhouse as ``wheels``."""
    folder = tmp_path_factory.mktemp("site")
    (folder / pylock.FOLDER).symlink_to(CACHE / "wheels")

    def made(name: str) -> Path:
        variant = variants.find(name)
        wheelhouse.fill(
            LOCKFILES / f"{name}.txt",
            CACHE / "wheels",
            variant.target.python,
            lambda: make.indexes_for(variant, ROOT / "pyproject.toml"),
            glibc=variant.target.glibc,
        )
        (folder / pylock.filename(name)).write_bytes((LOCKFILES / pylock.filename(name)).read_bytes())
        return folder

    return made


@pytest.fixture
def python(tmp_path: Path) -> Iterator[Path]:
    """The interpreter of an empty environment, which is removed at once: with torch it holds a gigabyte."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    yield tmp_path / "venv" / "bin" / "python"
    shutil.rmtree(tmp_path / "venv")


@pytest.mark.network
@pytest.mark.skipif(HERE != "3.11", reason="these locks are for CPython 3.11")
@pytest.mark.parametrize("installer", ["uv", "pip"])
@pytest.mark.parametrize("name", INSTALLED)
def test_a_lock_without_cuda_is_installed_without_an_index(
    name: str, installer: str, site: Callable[[str], Path], python: Path
) -> None:
    """uv from the PEP 751 form, pip from the .txt (what it makes of the other form it calls experimental)."""
    folder = site(name)
    if installer == "uv":
        done = uv(
            *("--preview-features", "pylock", "--offline", "--python", python),
            *("-r", folder / pylock.filename(name)),
            settings=IndexSettings(no_index=True),
        )
    else:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--no-compile"),
                *("--find-links", folder / pylock.FOLDER, "--require-hashes", "-r", LOCKFILES / f"{name}.txt"),
            ],
            env=index.pip_environment(IndexSettings(no_index=True), os.environ) | {"PIP_FIND_LINKS": ""},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert _installed(python) == {
        pin.name: pin.version for pin in text.parse((LOCKFILES / f"{name}.txt").read_text()).pins
    }


@pytest.mark.network
@pytest.mark.skipif(HERE != "3.11", reason="these locks are for CPython 3.11")
def test_pip_installs_the_pep_751_form_too(site: Callable[[str], Path], python: Path) -> None:
    folder = site("tool-py311")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-index", "--no-compile"),
            *("-r", folder / pylock.filename("tool-py311")),
        ],
        check=True,
    )
    pins = text.parse((LOCKFILES / "tool-py311.txt").read_text()).pins
    assert _installed(python) == {pin.name: pin.version for pin in pins}


def _installed(python: Path) -> dict[str, str]:
    """What that interpreter finds, by normalised name, and that each one's requirements are met."""
    code = (
        "import importlib.metadata as m, re\n"
        "for d in m.distributions(): print(re.sub('[-_.]+', '-', d.metadata['Name']).lower(), d.version)"
    )
    said = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout
    from uv import find_uv_bin

    subprocess.run([find_uv_bin(), "pip", "check", "--python", python], check=True, capture_output=True)
    return dict(line.split(" ", 1) for line in said.splitlines())
