"""The tables that checks read: every row has its source, and the numbers that two files state are the same."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
import tomllib

from provision.catalog import builds, tables
from provision.catalog.version import minor, numbers, older

CATALOG = Path(__file__).parents[2] / "provision/catalog"
MINE = (
    "allocator",
    "drivers",
    "engine_torch",
    "gpus",
    "pcie",
    "thresholds",
    "torch_arch",
    "xid",
    "engines",
    "gpu_floors",
    "instructions",
    "ports",
)


@pytest.mark.parametrize("name", MINE)
def test_every_row_has_a_source_and_a_date(name: str) -> None:
    table = tomllib.loads((CATALOG / f"{name}.toml").read_text())
    rows = [r for value in table.values() if isinstance(value, list) for r in value]
    rows += [r for value in table.values() if isinstance(value, dict) for r in value.values()]
    assert rows
    assert all(row["source"] and row["date"] for row in rows)


def test_cudas_floor_is_the_one_that_the_plan_asks_for() -> None:
    accelerators = tomllib.loads((CATALOG / "accelerators.toml").read_text())
    for name, row in accelerators.items():
        digits = re.fullmatch(r"cu(\d+)(\d)", name)
        assert digits
        assert row["minimum_driver"] == tables.minimum_driver(f"{digits[1]}.{digits[2]}")
        wheel = next(
            w for w in tables.wheels() if (w.torch, w.cuda) == (minor(row["torch"]), f"{digits[1]}.{digits[2]}")
        )
        assert tuple(row["architectures"]) == wheel.architectures


def test_a_toolkits_driver_is_never_below_its_majors_floor() -> None:
    for row in tables.drivers().toolkit:
        floor = tables.minimum_driver(row.cuda)
        assert floor
        # CUDA 11.0 came out with a 450.36, before the floor of its major was set to 450.80.02.
        assert row.cuda == "11.0" or not older(row.driver, floor)


def test_engine_ranges_do_not_overlap() -> None:
    for engine in {pin.engine for pin in tables.pins()}:
        rows = [pin for pin in tables.pins() if pin.engine == engine]
        for before, after in itertools.pairwise(rows):
            assert numbers(before.last) <= numbers(after.first)


def test_allocator_keys_are_named_once_and_leave_after_they_came() -> None:
    keys = tables.allocator().key
    assert len({row.key for row in keys}) == len(keys)
    assert all(not row.last or older(row.first, row.last) for row in keys)


@pytest.mark.parametrize(
    ("version", "than", "is_older"),
    [
        ("2.9", "2.10", True),
        ("2.10", "2.9", False),
        ("580", "580.0", False),
        ("580", "580.65.06", True),
        ("580.65.6", "580.65.06", False),
    ],
)
def test_versions_compare_by_number(version: str, than: str, is_older: bool) -> None:
    assert older(version, than) is is_older


def test_version_parts() -> None:
    assert numbers("20.10.24+dfsg1-1") == (20, 10, 24)
    assert numbers("unknown") == ()
    assert minor("2.13.0+cpu") == "2.13"


@pytest.mark.parametrize(
    ("driver", "cuda"),
    [("575.51.03", "12.9"), ("575.51.02", "12.8"), ("570.26", "12.8"), ("570.25", "12.6"), ("525.60.13", "12.9")],
)
def test_of_one_release_the_build_goes_first_whose_toolkit_came_with_no_newer_driver(driver: str, cuda: str) -> None:
    """The last: no toolkit is that old, so the newest; compiled code of the same CUDA major runs as well."""
    wheel = builds.newest(tuple(w for w in tables.wheels() if w.torch == "2.8"), driver)
    assert wheel is not None and wheel.cuda == cuda


def test_a_default_wheel_needs_no_index_of_its_own() -> None:
    commands = {w.cuda: builds.install(w, "python3") for w in tables.wheels() if w.torch == "2.8"}
    assert commands["12.8"] == "python3 -m pip install --force-reinstall 'torch==2.8.*'"
    assert commands["12.6"].endswith("'torch==2.8.*' --index-url https://download.pytorch.org/whl/cu126")
