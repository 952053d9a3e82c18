"""Our reading of versions and requirements against that of ``packaging``, which the collector may not import."""

from __future__ import annotations

import itertools

import pytest
from packaging.markers import InvalidMarker, Marker
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from provision.facts import requirement

VERSIONS = """
    0 0.1 1 1.0 1.0.0 1.0a1 1.0.dev1 1.0a1.dev2 1.0b2 1.0rc1 1.0.post1 1.0.post1.dev3 1.0+cpu 1.0+cu124 1.1 1.10 1.9 2.0rc1 2.0
    2.0.1 2.5.1+cu124 2.13.0 1!0.5 0.0.23.post1 2.0.0.dev20240720+cu124 9.1.0.70
""".split()  # noqa: SIM905 (a list to be read)
SPECIFIERS = """
    ==1.0 ==1.* !=1.0 !=1.* >=1.0 <=1.0 >1.0 <1.0 <2 >2 ~=1.0 ~=1.0.0 ~=2.5 ===1.0 >=0.21,<0.22 ==2.5.1 ==2.5.1+cu124 ==1.0.post1
    >=1.0rc1 <2.0rc1 >1.0.post1 <=2.5.1 ==9.1.0.70 !=1.10,>=1 ~=1.9 >=1!0 ==2.0.*
""".split()  # noqa: SIM905
MARKERS = (
    "",
    "python_version >= '3.8'",
    'python_version < "3.9"',
    "python_full_version >= '3.11.5'",
    'sys_platform == "linux" and platform_machine == "x86_64"',
    'platform_system == "Windows" or (platform_system == "Linux" and python_version < "3.13")',
    '"linux" in sys_platform',
    'platform_machine not in "aarch64 arm64"',
    'extra == "all"',
    "'3.10' <= python_version",
    "os_name == 'nt' and python_version ~= '3.8'",
    "implementation_name != 'pypy'",
)


@pytest.mark.parametrize(("left", "right"), list(itertools.combinations(VERSIONS, 2)))
def test_versions_are_ordered_as_packaging_orders_them(left: str, right: str) -> None:
    ours = (requirement.key(left) > requirement.key(right), requirement.key(left) == requirement.key(right))
    assert ours == (Version(left) > Version(right), Version(left) == Version(right))


@pytest.mark.parametrize("specifier", SPECIFIERS)
@pytest.mark.parametrize("version", VERSIONS)
def test_specifiers_hold_as_in_packaging(version: str, specifier: str) -> None:
    assert requirement.meets(version, specifier) is SpecifierSet(specifier).contains(version, prereleases=True)


@pytest.mark.parametrize("marker", MARKERS)
@pytest.mark.parametrize(("python", "machine"), [("3.8.10", "x86_64"), ("3.11.7", "x86_64"), ("3.13.0", "aarch64")])
def test_markers_hold_as_in_packaging(marker: str, python: str, machine: str) -> None:
    environment = requirement.marker_environment(python, machine)
    theirs = Marker(marker).evaluate(environment) if marker else True
    assert requirement.applies(marker, environment) is theirs


@pytest.mark.parametrize(
    "line",
    [
        "torch==2.5.1",
        "tokenizers (>=0.21,<0.22)",
        'triton==3.1.0; platform_system == "Linux"',
        "Flash_Attn",
        'ray[cgraph]>=2.48.0 ; python_version >= "3.9"',
        "numpy<3,>=1.26",
    ],
)
def test_requirements_are_read_as_packaging_reads_them(line: str) -> None:
    name, specifier, marker = requirement.parse(line)
    theirs = Requirement(line)
    assert name == requirement.normal(theirs.name)
    assert SpecifierSet(specifier) == theirs.specifier
    assert bool(marker) == (theirs.marker is not None)


@pytest.mark.parametrize("line", ["y @ https://example.com/y.whl", "", "==1", "a b c"])
def test_what_is_no_requirement_by_version_is_said(line: str) -> None:
    with pytest.raises(requirement.Unreadable):
        requirement.parse(line)


@pytest.mark.parametrize("marker", ["python_version >=", "(python_version >= '3'", "nonsense == '1'", "'a' ~ 'b'"])
def test_what_is_no_marker_is_said(marker: str) -> None:
    with pytest.raises(InvalidMarker):
        Marker(marker)
    with pytest.raises(requirement.Unreadable):
        requirement.applies(marker, requirement.marker_environment("3.11", "x86_64"))


@pytest.mark.parametrize("version", ["", "x", "1..2", "1.0-", "1.0+"])
def test_what_is_no_version_is_said(version: str) -> None:
    with pytest.raises(requirement.Unreadable):
        requirement.key(version)


@pytest.mark.parametrize(
    "line", ["ray[default]>=2", "uvicorn [Standard, fast_api] (>=1) ; extra == 'x'", "numpy", "a.b[]==1"]
)
def test_extras_are_read_as_packaging_reads_them(line: str) -> None:
    theirs = Requirement(line)
    assert requirement.extras(line) == (
        canonicalize_name(theirs.name),
        frozenset(canonicalize_name(extra) for extra in theirs.extras),
    )
