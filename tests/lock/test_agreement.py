"""Locks of one purpose agree where one version would do for both: ``provision lock`` sees to it, ``--check`` names it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from provision.index import IndexSettings
from provision.lock import agreement, make, package, standing
from provision.lock.agreement import Held, Move
from provision.lock.package import PYTHONS, Package
from provision.lock.target import Target
from provision.lock.variants import Requirement, Variant

ASKED = Requirement(name="app", bound="", because="", source="here", date="2026-11-24")
OLD = Variant(
    name="old",
    purpose="smoke",
    accelerator="cpu",
    target=Target(python="3.11", glibc="2.36", machine="x86_64"),
    origin="",
    requirements=(ASKED,),
    agree_with=(),
    forbidden=("*==*+cu*",),
    forbidden_because="no GPU here",
)
NEW = replace(OLD, name="new", target=replace(OLD.target, python="3.12"), forbidden=())


def held(variant: Variant, asked: str, *packages: Package, **how: object) -> Held:
    return Held(
        variant=variant,
        inputs=package.active(asked.split("; "), (), variant.target),
        packages={each.name: each for each in packages},
        **{"bound": {}, **how},  # type: ignore[arg-type]
    )


def a(
    name: str, version: str, *requires: str, pythons: tuple[str, ...] = PYTHONS, extras: tuple[str, ...] = ()
) -> Package:
    return Package(name=name, version=version, wheels=(), pythons=pythons, requires=requires, extras=extras)


def moving(*locks: Held) -> list[tuple[str, str, str, str, str]]:
    return [
        (lock, m.package, m.here, m.there, m.sibling) for lock, found in agreement.moves(locks).items() for m in found
    ]


def test_the_newer_of_two_versions_is_wanted_where_both_would_do() -> None:
    one, other = held(OLD, "app", a("app", "1.9")), held(NEW, "app", a("app", "1.10"))
    assert moving(one, other) == [("old", "app", "1.9", "1.10", "new")]
    assert moving(other, one) == moving(one, other)
    assert moving(one, replace(other, packages=one.packages)) == []


@pytest.mark.parametrize(
    ("asked", "newer"),
    [
        ("app<2", a("app", "2.0")),
        ("app", a("app", "2.0", pythons=("3.12", "3.13"))),
        ("app", a("app", "2.0+cu130")),
        ("app; lib<2", a("app", "2.0", "lib>=2")),
        ("app", a("app", "2.0", "unheard-of")),
        ("app[more]", a("app", "2.0")),
    ],
    ids=["the input", "no wheel", "forbidden", "its requirement", "another package", "an extra nobody locked"],
)
def test_who_cannot_take_the_newer_keeps_the_older_and_the_other_comes_down(asked: str, newer: Package) -> None:
    lib = a("lib", "1.0")
    one = held(OLD, asked, a("app", "1.0", "lib", extras=("more",)), lib)
    other = held(NEW, "app", newer, replace(lib, version="2.0"), a("unheard-of", "1"))
    found = {each[:4] for each in moving(one, other)}
    assert ("new", "app", newer.version, "1.0") in found
    assert ("old", "app") not in {each[:2] for each in found}
    both_need_theirs = replace(other, inputs=package.active(["app>=2"], (), NEW.target))
    assert "app" not in {each[1] for each in moving(one, both_need_theirs)}


def test_a_requirement_holds_only_where_its_marker_does() -> None:
    newer = a("app", "2.0", "lib>=2; python_version < '3.12'")
    one = held(OLD, "app", a("app", "1.0"), a("lib", "1.0"))
    other = held(NEW, "app>=2; lib<2", newer, a("lib", "1.0"))
    assert moving(one, other) == []
    assert moving(replace(one, variant=replace(OLD, target=NEW.target)), other) == [("old", "app", "1.0", "2.0", "new")]


def test_packages_that_need_each_other_move_together() -> None:
    one = held(OLD, "app", a("app", "1.0", "core==1.0"), a("core", "1.0"))
    other = held(NEW, "app>=2", a("app", "2.0", "core==2.0"), a("core", "2.0"))
    assert [each[:4] for each in moving(one, other)] == [("old", "app", "1.0", "2.0"), ("old", "core", "1.0", "2.0")]


def test_what_the_most_locks_can_take_is_wanted_and_the_rest_is_left_alone() -> None:
    locks = [
        held(OLD, "app<2", a("app", "1.0")),
        held(replace(OLD, name="third"), "app", a("app", "1.5")),
        held(replace(OLD, name="fourth"), "app<2", a("app", "1.5")),
        held(NEW, "app>=3", a("app", "3.0")),
    ]
    assert moving(*locks) == [("old", "app", "1.0", "1.5", "third")]
    assert moving(*locks[:2], locks[3]) == [("third", "app", "1.5", "3.0", "new")]


def test_a_fixed_lock_a_bound_one_and_one_of_another_purpose_do_not_move() -> None:
    one, other = held(OLD, "app", a("app", "1.0")), held(NEW, "app", a("app", "2.0"))
    assert moving(one, replace(other, fixed=True)) == [("old", "app", "1.0", "2.0", "new")]
    assert moving(replace(one, fixed=True), other) == [("new", "app", "2.0", "1.0", "old")]
    assert moving(replace(one, bound={"app": "1.0"}), other) == [("new", "app", "2.0", "1.0", "old")]
    assert moving(replace(one, variant=replace(OLD, purpose="serve")), other) == []
    elsewhere = replace(OLD, target=replace(OLD.target, machine="aarch64"))
    assert moving(replace(one, variant=elsewhere), other) == []


@pytest.fixture
def lock(tmp_path: Path, offline: IndexSettings) -> Callable[..., tuple[make.Locked, ...]]:
    def run(*chosen: Variant, **how: object) -> tuple[make.Locked, ...]:
        return make.lock_variants(
            chosen,
            lockfiles=tmp_path / "locks",
            pyproject=tmp_path / "pyproject.toml",
            settings=offline,
            **how,  # type: ignore[arg-type]
        )

    return run


def versions(made: make.Locked) -> dict[str, str]:
    return {pin.name: pin.version for pin in made.pins}


def test_locks_made_in_one_run_agree(
    lock: Callable[..., tuple[make.Locked, ...]], wheels: Path, make_wheel: Callable, tmp_path: Path
) -> None:
    """app 2.0 is for Python 3.12 alone, lib 2.0 for both: the newest for each is not the newest for both."""
    make_wheel(wheels, "app", "2.0", "lib", tag="cp312-cp312-manylinux_2_28_x86_64")
    make_wheel(wheels, "lib", "2.0")
    old, new = lock(OLD, NEW)
    assert versions(old) == versions(new) == {"app": "1.0", "lib": "2.0"}
    assert [(m.name, m.after, m.because) for m in new.moved] == [
        ("app", "1.0", "so that it agrees with old"),
        ("lib", "2.0", "asked for by app, which moved too"),
    ]
    assert [each.changed for each in lock(OLD, NEW)] == [False, False]
    assert standing.needless(NEW, tmp_path / "locks", [OLD, NEW]) == ()


def test_a_lock_on_disk_is_what_a_new_one_agrees_with_and_upgrade_is_not_held_back(
    lock: Callable[..., tuple[make.Locked, ...]],
    wheels: Path,
    make_wheel: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("provision.lock.variants.load", lambda: (OLD, NEW))
    lock(OLD)
    make_wheel(wheels, "lib", "2.0")
    (new,) = lock(NEW)
    assert versions(new) == {"app": "1.0", "lib": "1.1"}
    (new,) = lock(NEW, upgrade={"new": ("lib",)})
    assert versions(new) == {"app": "1.0", "lib": "2.0"}
    assert standing.needless(NEW, tmp_path / "locks") == ()
    assert standing.needless(OLD, tmp_path / "locks") == (Move(package="lib", here="1.1", there="2.0", sibling="new"),)
    assert [versions(each)["lib"] for each in lock(OLD, NEW)] == ["2.0", "2.0"]


def test_check_names_package_both_versions_and_why(
    lock: Callable[..., tuple[make.Locked, ...]],
    wheels: Path,
    make_wheel: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from provision.lock.check import check_lock

    monkeypatch.setattr("provision.lock.variants.load", lambda: (OLD, NEW))
    lock(OLD)
    make_wheel(wheels, "lib", "2.0")
    lock(NEW, upgrade={"new": True})
    (problem,) = check_lock(OLD, lockfiles=tmp_path / "locks", pyproject=tmp_path / "pyproject.toml")
    assert (problem.kind, problem.message) == (
        "needless",
        "old.txt:10: lib 1.1 here, 2.0 in new.txt; needless: every requirement here admits 2.0, "
        "and it has a wheel for CPython 3.11",
    )
    assert problem.next_command == "provision lock old new"
