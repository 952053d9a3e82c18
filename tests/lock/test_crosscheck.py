"""uv and pip-tools give the same pins, on the indexes that are really configured.

PROVISION_CROSSCHECK names the variants; ``make locks-crosscheck`` asks for one CPU and one GPU lock, for which pip-compile
needs minutes (it downloads torch).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from provision.index import IndexSettings
from provision.lock import make, variants
from provision.lock.crosscheck import crosscheck

ROOT = Path(__file__).parents[2]


@pytest.mark.network
@pytest.mark.parametrize("name", os.environ.get("PROVISION_CROSSCHECK", "tool-py311").split())
def test_both_resolvers_give_the_same_pins(name: str) -> None:
    found = crosscheck(variants.find(name), lockfiles=ROOT / "lockfiles", pyproject=ROOT / "pyproject.toml")
    assert found.differences == ()
    assert found.packages > 10


def test_a_difference_is_told(
    tmp_path: Path, wheels: Path, make_wheel: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PIP_PRE lets pip-compile take a pre-release that uv leaves alone."""
    make_wheel(wheels, "lib", "2.0rc1")
    monkeypatch.setenv("PIP_PRE", "1")
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["app"]\n')
    settings = IndexSettings(no_index=True, find_links=(str(wheels),))
    tool = variants.find("tool-py311")
    found = crosscheck(tool, lockfiles=tmp_path, pyproject=tmp_path / "pyproject.toml", settings=settings)
    assert (found.packages, found.differences) == (2, (("lib", "1.1", "2.0rc1"),))


@pytest.mark.network
def test_the_tools_lock_is_made_again_with_the_same_pins(tmp_path: Path) -> None:
    """From the real indexes: the pins in git stand, and every hash in git is still offered by them."""
    tool = variants.find("tool-py311")
    kept = (ROOT / "lockfiles" / "tool-py311.txt").read_text()
    (tmp_path / "tool-py311.txt").write_text(kept)
    made = make.lock_variant(tool, lockfiles=tmp_path, pyproject=ROOT / "pyproject.toml")
    assert made.moved == ()
    again = make.lock_variant(tool, lockfiles=tmp_path, pyproject=ROOT / "pyproject.toml")
    assert not again.changed
