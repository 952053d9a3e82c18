"""How large the memory is that weights are copied into."""

from __future__ import annotations

from pathlib import Path

import pytest

from provision.payload.disk.target import LEAST_BYTES, MOST_BYTES, Target, wanted_bytes

MIB = 1 << 20


@pytest.fixture
def caches(tmp_path: Path) -> Path:
    for index, size in enumerate(("48K", "2048K", "266240K")):
        (tmp_path / f"index{index}").mkdir()
        (tmp_path / f"index{index}/size").write_text(f"{size}\n")
    return tmp_path


@pytest.mark.parametrize(
    ("available", "wanted"),
    [
        (64 << 30, 520 * MIB),
        (8 * 520 * MIB, 520 * MIB),
        (8 * 300 * MIB, 300 * MIB),
        (1 << 30, LEAST_BYTES),
        (0, LEAST_BYTES),
    ],
)
def test_it_is_twice_the_largest_cache_where_memory_allows(caches: Path, available: int, wanted: int) -> None:
    assert wanted_bytes(caches, available) == wanted


@pytest.mark.parametrize(("said", "wanted"), [("4G", MOST_BYTES), ("32M", LEAST_BYTES), ("many", LEAST_BYTES)])
def test_it_stays_within_its_bounds(tmp_path: Path, said: str, wanted: int) -> None:
    (tmp_path / "index3").mkdir()
    (tmp_path / "index3/size").write_text(said)
    assert wanted_bytes(tmp_path, 64 << 30) == wanted


def test_a_machine_that_names_no_cache_gets_the_least(tmp_path: Path) -> None:
    assert wanted_bytes(tmp_path, 64 << 30) == LEAST_BYTES


def test_it_starts_again_when_it_is_full() -> None:
    target = Target(2 * MIB)
    for letter in b"abc":
        target.take(memoryview(bytes([letter]) * MIB))
    assert bytes(target._memory[:1]) == b"c" and bytes(target._memory[MIB : MIB + 1]) == b"b"
