"""The tables that checks read: every row has its source, and the numbers that two files state are the same."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import tomllib
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from provision.catalog import builds, tables
from provision.catalog.version import minor, numbers, older
from provision.plan.cuda import locks

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
    "package_releases",
    "precisions",
    "torch_releases",
    "ports",
)


@pytest.mark.parametrize("name", MINE)
def test_every_row_has_a_source_and_a_date(name: str) -> None:
    table = tomllib.loads((CATALOG / f"{name}.toml").read_text())
    rows = [r for value in table.values() if isinstance(value, list) for r in value]
    rows += [r for value in table.values() if isinstance(value, dict) for r in value.values()]
    assert rows
    assert all(row["source"] and row["date"] for row in rows)


@pytest.mark.parametrize("lock", [lock for lock in locks.known() if lock.cuda], ids=lambda lock: lock.name)
def test_the_tables_know_what_every_lock_asks_of_a_card(lock: locks.Lock) -> None:
    """Without a row there would be no floor, no code, and no lock that anybody could take."""
    assert lock.minimum_driver == tables.minimum_driver(lock.cuda) is not None
    assert lock.architectures
    release = tables.torch_releases()[lock.torch]
    assert (release.cuda, lock.python in release.pythons) == (lock.cuda, True)
    assert not older(lock.glibc, release.glibc)


ASKED = [(lock, name) for lock in locks.known() for name in lock.packages if name in {"vllm", "bitsandbytes"}]


@pytest.mark.parametrize(("lock", "package"), ASKED, ids=lambda each: each if isinstance(each, str) else each.name)
def test_every_lock_has_what_its_packages_ask_for(lock: locks.Lock, package: str) -> None:
    """The derived table against the typed catalogue of variants: Python, C library and torch."""
    row = tables.package_range(package, lock.packages[package])
    assert row is not None
    assert SpecifierSet(row.requires_python).contains(f"{lock.python}.1")
    assert not older(lock.glibc, row.glibc)
    assert SpecifierSet(row.torch).contains(lock.torch)


def test_ranges_of_packages_do_not_overlap() -> None:
    for package in {row.package for row in tables.package_ranges()}:
        rows = [row for row in tables.package_ranges() if row.package == package]
        assert all(
            older(before.last, after.first) or "post" in after.first for before, after in itertools.pairwise(rows)
        )
        assert rows and all(not older(row.last, row.first) for row in rows)


def test_the_engines_torch_is_the_same_in_both_derived_tables() -> None:
    for pin in tables.pins():
        inside = [
            row
            for row in tables.package_ranges()
            if row.package == pin.engine
            and Version(pin.first) <= Version(row.last)
            and Version(row.first) <= Version(pin.last)
        ]
        assert inside, pin
        assert all(SpecifierSet(row.torch).contains(pin.torch) for row in inside), (pin, inside)


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
