"""DEP070 to DEP073: what is installed against its lock, and files against their records."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from provision.catalog import locks
from provision.fact import Absent, Missing
from provision.facts.image_packages import ImageEnvironment, ImagePackages
from provision.facts.installed_files import FilesLooked, InstalledFiles
from provision.facts.locked import InstalledPackage, LockedEnvironment
from provision.plan import Dependencies, Rollout
from provision.spec import Spec
from provision.spec_dependencies import DependenciesSpec, Pinned

NOT_NAMED = "provision.toml names no lock for a Python environment ([dependencies] lock)"


def wanted(*lines: str) -> Spec:
    """A spec whose lock has these lines: "name==version", "name" (an address), with a marker behind a semicolon."""
    parts = [line.partition(";") for line in lines]
    pins = [(*head.partition("==")[::2], marker.strip()) for head, _, marker in parts]
    made = tuple(Pinned(name=name, version=version, marker=marker) for name, version, marker in pins)
    return Spec(dependencies=DependenciesSpec(lock="requirements.txt", pins=made))


def installed(a: Any, *packages: str, **more: Any) -> LockedEnvironment:
    """An environment with "name==version", "user name==version" or "inherited name==version"."""
    found = []
    for one in packages:
        place, _, pin = one.rpartition(" ")
        name, _, version = pin.partition("==")
        found.append(a(InstalledPackage, name=name, version=version, place=place or "own", **more))
    return a(LockedEnvironment, packages=tuple(found))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("lines", "packages", "said"),
    [
        (["torch==2.13.0"], ["torch==2.13.0"], ""),
        (["torch==2.13.0"], ["torch==2.13.0+cpu"], ""),  # PEP 440: a local part counts where the lock names one
        (["torch==2.13.0+cu130"], ["torch==2.13.0+cpu"], "torch 2.13.0+cpu instead of 2.13.0+cu130"),
        (["torch==2.13.0+cpu"], ["torch==2.13.0"], "torch 2.13.0 instead of 2.13.0+cpu"),
        (["a==1.0"], ["a==1.0.0"], ""),
        (["a==1.0"], ["a==1.0.post1"], "a 1.0.post1 instead of 1.0"),
        (["a==not-a-version"], ["a==not-a-version"], ""),
        (["a==not-a-version"], ["a==not-another"], "a not-another instead of not-a-version"),
        (["a"], ["a==7"], ""),
        (["a"], [], "not installed: a"),
        (["a==1", "b==1"], ["a==1"], "not installed: b 1"),
        (["a==1", "b==1"], ["a==2"], "not installed: b 1; a 2 instead of 1"),
        # Markers: lines for another Python or system are passed over.
        (["a==1; python_version < '3.11'", "a==2; python_version >= '3.11'"], ["a==2"], ""),
        (["a==1; python_version < '3.11'", "a==2; python_version >= '3.11'"], ["a==1"], "a 1 instead of 2"),
        (["a==1; python_full_version >= '3.11.3'"], [], ""),
        (["a==1; python_full_version >= '3.11.2'"], [], "not installed: a 1"),
        (["a==1; sys_platform == 'win32' or platform_machine == 'aarch64'"], [], ""),
    ],
)
def test_dep070_compares_what_is_imported_with_the_lock(
    a: Any, messages: Any, lines: list[str], packages: list[str], said: str
) -> None:
    expected = [f"/opt/venv is not requirements.txt: {said}"] if said else []
    assert messages("DEP070", installed(a, *packages), {Spec: wanted(*lines)}) == expected


@pytest.mark.parametrize(
    ("venv", "packages", "said"),
    [
        (
            True,
            ["own a==1", "user a==2", "inherited a==3"],
            "",
        ),  # Python's site.py: a virtual environment's own come first
        (True, ["user a==1", "inherited a==3"], ""),
        (True, ["user a==2", "inherited a==1"], "a 2 (pip install --user) instead of 1"),
        (True, ["inherited a==1"], ""),
        (True, ["inherited a==2"], "a 2 (the system's) instead of 1"),
        (False, ["own a==1", "user a==2"], "a 2 (pip install --user) instead of 1"),
        (False, ["own a==2", "user a==1"], ""),
    ],
)
def test_dep070_the_copy_that_is_imported_is_the_one_that_counts(
    a: Any, messages: Any, venv: bool, packages: list[str], said: str
) -> None:
    here = dataclasses.replace(installed(a, *packages), venv=venv)
    expected = [f"/opt/venv is not requirements.txt: {said}"] if said else []
    assert messages("DEP070", here, {Spec: wanted("a==1")}) == expected


def test_dep070_names_four_and_counts_the_rest(a: Any, run_check: Any) -> None:
    lock = wanted(*(f"p{n}==1" for n in range(6)))
    (finding,) = run_check("DEP070", installed(a), {Spec: lock}).findings
    assert finding.message == "/opt/venv is not requirements.txt: not installed: p0 1, p1 1, p2 1, p3 1, and 2 more"
    assert len(finding.measured["missing"]) == 6
    assert finding.fix == ("/opt/venv/bin/python3 -m pip install -r requirements.txt",)


def test_dep070_an_environment_that_is_not_there_is_a_finding_and_no_skip(
    a: Any, messages: Any, run_check: Any
) -> None:
    gone = a(LockedEnvironment, prefix="/srv/app", python=None, packages=())
    assert messages("DEP070", gone, {Spec: wanted("a==1")}) == [
        "there is no Python environment in /srv/app, which requirements.txt was made for"
    ]
    assert run_check("DEP071", gone, {Spec: wanted("a==1")}).outcome == "skipped"


@pytest.mark.parametrize("code", ["DEP070", "DEP071"])
@pytest.mark.parametrize(
    "facts", [{}, {LockedEnvironment: Missing("an old snapshot")}, {LockedEnvironment: Absent("")}]
)
def test_dep070_and_dep071_apply_only_where_a_lock_is_named(run_check: Any, code: str, facts: dict[type, Any]) -> None:
    result = run_check(code, facts)
    assert (result.outcome, result.reason) == ("skipped", NOT_NAMED)


@pytest.mark.parametrize("code", ["DEP070", "DEP071"])
@pytest.mark.parametrize(
    ("named", "facts", "outcome", "reason"),
    [
        ("", {}, "ok", ""),
        ("/opt/venv/", {}, "ok", ""),
        ("/srv/app", {}, "unknown", "/srv/app was not looked at: these facts were taken for another provision.toml"),
        (
            "",
            {LockedEnvironment: Absent("nobody asked")},
            "unknown",
            "the environment in use was not looked at: these facts were taken for another provision.toml",
        ),
        ("", {LockedEnvironment: Missing("permission denied")}, "unknown", "permission denied"),
    ],
)
def test_dep070_and_dep071_facts_taken_for_another_spec_are_never_ok(
    run_check: Any, code: str, named: str, facts: dict[type, Any], outcome: str, reason: str
) -> None:
    lock = DependenciesSpec(lock="l.txt", environment=named, pins=(Pinned(name="torch", version="2.13.0+cu130"),))
    result = run_check(code, facts, {Spec: Spec(dependencies=lock)})
    assert (result.outcome, result.reason) == (outcome, reason)


@pytest.mark.parametrize(
    ("packages", "more", "said"),
    [
        (["a==1"], {}, ""),
        (["a==1", "b==1"], {}, "b 1"),
        (["a==1", "pip==24.0", "setuptools==80", "wheel==1"], {}, ""),
        (["a==1", "pkg-resources==0.0.0"], {}, ""),  # Debian's own way of making an environment, once
        (["a==1", "b==1"], {"local": True}, ""),  # the project itself
        (["a==1", "b==1"], {"installer": "conda"}, ""),
        (["a==1", "b==1"], {"installer": "distribution"}, ""),
        (["a==1", "b==1"], {"installer": "uv"}, "b 1"),
        (["a==1", "b==1"], {"installer": ""}, "b 1"),
        (["a==1", "inherited b==1", "user c==1"], {}, ""),
    ],
)
def test_dep071_names_what_the_lock_does_not(
    a: Any, messages: Any, packages: list[str], more: dict[str, Any], said: str
) -> None:
    expected = [f"/opt/venv holds what requirements.txt does not name: {said}"] if said else []
    assert messages("DEP071", installed(a, *packages, **more), {Spec: wanted("a==1")}) == expected


def test_dep071_a_line_for_another_python_names_nothing_here(a: Any, messages: Any) -> None:
    lock = wanted("a==1", "b==1; python_version < '3'")
    assert messages("DEP071", installed(a, "a==1", "b==1"), {Spec: lock}) == [
        "/opt/venv holds what requirements.txt does not name: b 1"
    ]


LOCKED = locks.pins("smoke-cu130-py311")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ""),
        ({"torch": None}, "not installed: torch 2.13.0"),
        ({"pip": "24.0"}, "not in the lock: pip 24.0"),
        ({"torch": "2.12.0"}, "other version: torch 2.12.0 instead of 2.13.0"),
        ({"torch": None, "evil": "1"}, "not installed: torch 2.13.0; not in the lock: evil 1"),
    ],
)
def test_dep072_wants_the_lock_no_more_and_no_less(
    a: Any, messages: Any, change: dict[str, str | None], said: str
) -> None:
    here = tuple(sorted((name, version) for name, version in (LOCKED | change).items() if version))
    image = a(ImagePackages, images=(a(ImageEnvironment, packages=here),))
    expected = [f"{a(Rollout).image} is not smoke-cu130-py311: {said}"] if said else []
    assert messages("DEP072", image) == expected


def test_dep072_says_why_it_could_not_look(a: Any, run_check: Any) -> None:
    image = a(ImageEnvironment, unread="/var/lib/docker: permission denied", packages=(), python=None)
    result = run_check("DEP072", a(ImagePackages, images=(image,)))
    assert (result.outcome, result.reason) == ("unknown", "/var/lib/docker: permission denied")


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ({"tags": ("provision/smoke:other",)}, "is not built (ROL002)"),
        ({"lock_sha256": "2" * 64}, "was built from another lock (ROL001)"),
        ({"lock_sha256": None}, "was built from another lock (ROL001)"),
    ],
)
def test_dep072_leaves_another_image_to_its_own_checks(
    a: Any, run_check: Any, image: dict[str, Any], reason: str
) -> None:
    result = run_check("DEP072", a(ImagePackages, images=(a(ImageEnvironment, packages=(), **image),)))
    assert (result.outcome, result.reason) == ("skipped", f"{a(Rollout).image} {reason}")


def test_dep072_asks_for_the_plans_own_lock(a: Any, messages: Any) -> None:
    (said,) = messages("DEP072", a(Dependencies, lock="smoke-cpu-py311"))
    assert said.startswith(f"{a(Rollout).image} is not smoke-cpu-py311: ")


@pytest.mark.parametrize(
    ("looked", "said"),
    [
        ({}, ""),
        ({"edited": 1, "named": {"edited": ("t 1: t/a.py",)}}, "1 file edited: t/a.py"),
        ({"missing": 2, "named": {"missing": ("t 1: t/a.py", "t 1: b.py")}}, "2 files removed: t/a.py, b.py"),
        (
            {"edited": 70, "missing": 1, "named": {"edited": tuple(f"t 1: {n}" for n in range(50)), "missing": ("t 1: x",)}},
            "70 files edited: 0, 1, 2, 3 …; 1 file removed: x",
        ),
    ],
)  # fmt: skip
def test_dep073_names_what_changed(a: Any, messages: Any, looked: dict[str, Any], said: str) -> None:
    files = a(InstalledFiles, places=(a(FilesLooked, **looked),))
    assert messages("DEP073", files) == ([f"in /opt/venv: {said}"] if said else [])


def test_dep073_gives_the_command_for_an_environment_and_for_an_image(a: Any, run_check: Any) -> None:
    changed = {"edited": 1, "named": {"edited": ("torch 2.13.0+cpu: torch/a.py",)}}
    places = (a(FilesLooked, **changed), a(FilesLooked, place="provision/smoke:one", **changed))
    first, second = run_check("DEP073", a(InstalledFiles, places=places)).findings
    assert first.fix == ("/opt/venv/bin/python3 -m pip install --force-reinstall --no-deps torch==2.13.0+cpu",)
    assert second.fix == ("docker image rm provision/smoke:one", "provision up")


@pytest.mark.parametrize(
    ("looked", "reason"),
    [
        ({"unfinished": "its 300 s were over after 3 of 9 files"}, "its 300 s were over after 3 of 9 files"),
        ({"unreadable": 2, "named": {"unreadable": ("a 1: x.py", "a 1: y.py")}}, "2 files could not be read: x.py"),
        ({"without_record": ("a 1", "b 2")}, "no RECORD for a 1 and b 2"),
    ],
)
def test_dep073_what_could_not_be_looked_at_is_never_ok(
    a: Any, run_check: Any, looked: dict[str, Any], reason: str
) -> None:
    blind = a(FilesLooked, place="/srv/app", **looked)
    result = run_check("DEP073", a(InstalledFiles, places=(blind, a(FilesLooked))))
    assert (result.outcome, result.reason) == ("unknown", f"/srv/app: {reason}")
    changed = a(FilesLooked, edited=1, named={"edited": ("t 1: t/a.py",)})
    result = run_check("DEP073", a(InstalledFiles, places=(blind, changed)))
    assert (result.outcome, result.reason, len(result.findings)) == ("found", f"/srv/app: {reason}", 1)
