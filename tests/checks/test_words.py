"""How checks spell sizes and lists, and where they look for the engine's data."""

from __future__ import annotations

from typing import Any

import pytest

from provision.checks._words import DEFAULT_DATA_ROOT, counted, data_root, listed, mount_of, settings, size
from provision.fact import Absent, Missing
from provision.facts.disks import Mount, Mounts
from provision.facts.docker import DaemonJson, Docker


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 KiB"), (1 << 20, "1 MiB"), ((1 << 20) - 1024, "1023 KiB"), (1 << 30, "1.0 GiB"), ((1 << 30) - (1 << 20), "1023 MiB")],
)  # fmt: skip
def test_sizes(count: int, said: str) -> None:
    assert size(count) == said


def test_lists_and_numbers() -> None:
    assert [listed("a"), listed("ab"), listed("abc"), listed("")] == ["a", "a and b", "a, b and c", ""]
    assert [counted(1, "GPU"), counted(2, "GPU"), counted(0, "process", "processes")] == [
        "1 GPU",
        "2 GPUs",
        "0 processes",
    ]


def test_the_data_root_is_what_the_engine_says_else_its_settings_else_the_default(a: Any) -> None:
    nothing, chosen = Absent("x"), a(DaemonJson, text='{"data-root": "/data"}')
    assert data_root(a(Docker, data_root="/engine"), chosen) == "/engine"
    assert data_root(nothing, chosen) == "/data"
    assert data_root(nothing, a(DaemonJson, text='{"data-root": 7}')) == DEFAULT_DATA_ROOT
    assert data_root(Missing("x"), nothing) == DEFAULT_DATA_ROOT


def test_settings_that_cannot_be_read_are_none(a: Any) -> None:
    assert settings(a(DaemonJson, text="{", error="bad")) == {}
    assert settings(a(DaemonJson, text="")) == {}


@pytest.mark.parametrize(
    ("path", "mount_point"),
    [("/data/docker", "/data"), ("/data", "/data"), ("/database", "/"), ("/data/a/b", "/data/a"), ("/x", "/")],
)
def test_the_innermost_mount_holds_a_path(a: Any, path: str, mount_point: str) -> None:
    mounts = a(Mounts, mounts=tuple(a(Mount, mount_point=point) for point in ("/", "/data", "/data/a")))
    assert mount_of(path, mounts).mount_point == mount_point
