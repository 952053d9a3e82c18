"""DEP050 to DEP065: both sides of every threshold, with the exact words."""

from __future__ import annotations

from typing import Any

import pytest

from provision.facts.linkage import Linkage, TorchLinkage, Wanting
from provision.facts.metadata import CompiledPackage, EnvironmentMetadata, PythonMetadata, Unmet
from provision.facts.native import EnvironmentLinks, PipFile, PipSettings
from provision.facts.packages import PackageEnvironment, Packages
from provision.facts.system import System
from provision.spec import Expect, Spec

VISION = {"package": "torchvision", "version": "0.20.1", "requires": "torch==2.5.1", "name": "torch", "found": "2.13.0"}
TOKENIZERS = {
    "package": "transformers", "version": "4.50.0", "requires": "tokenizers<0.22,>=0.21", "name": "tokenizers",
    "found": "0.20.3",
}  # fmt: skip
TRITON = {"package": "torch", "version": "2.5.1", "requires": "triton==3.1.0", "name": "triton", "found": "3.2.0"}
OTHER = {
    "package": "peft",
    "version": "0.14.0",
    "requires": "accelerate>=0.21",
    "name": "accelerate",
    "found": "0.20.0",
}
LACKING = {"package": "torch", "version": "2.5.1", "requires": "filelock", "name": "filelock", "found": None}
SAID = {
    "DEP050": "in /opt/venv: torchvision 0.20.1 requires torch==2.5.1 and 2.13.0 is installed",
    "DEP051": "in /opt/venv: transformers 4.50.0 requires tokenizers<0.22,>=0.21 and 0.20.3 is installed",
    "DEP052": "in /opt/venv: peft 0.14.0 requires accelerate>=0.21 and 0.20.0 is installed",
    "DEP053": "in /opt/venv: filelock not installed, required by torch",
    "DEP054": "in /opt/venv: torch 2.5.1 requires triton==3.1.0 and 3.2.0 is installed",
}


def metadata(a: Any, **overrides: Any) -> PythonMetadata:
    return a(PythonMetadata, environments=(a(EnvironmentMetadata, **overrides),))  # type: ignore[no-any-return]


def packages(a: Any, *names: tuple[str, str], **overrides: Any) -> Packages:
    one = a(PackageEnvironment, prefix="/opt/venv", packages=names, **overrides)
    return a(Packages, environments=(one,))  # type: ignore[no-any-return]


# test_dep051_, test_dep053_, test_dep054_: each judges its own kind of requirement and no other's.
@pytest.mark.parametrize(
    ("unmet", "code"),
    [(VISION, "DEP050"), (TOKENIZERS, "DEP051"), (OTHER, "DEP052"), (LACKING, "DEP053"), (TRITON, "DEP054")],
)
def test_dep050_to_dep054_share_unmet_requirements_out(a: Any, messages: Any, unmet: dict[str, Any], code: str) -> None:
    found = {one: messages(one, metadata(a, unmet=(a(Unmet, **unmet),))) for one in SAID}
    assert found == {one: [SAID[code]] if one == code else [] for one in SAID}


def test_dep052_names_four_and_counts_the_rest(a: Any, messages: Any) -> None:
    several = tuple(a(Unmet, **(OTHER | {"package": f"p{n}"})) for n in range(6))
    (said,) = messages("DEP052", metadata(a, unmet=several))
    assert said.count(" requires ") == 4
    assert said.endswith(", and 2 more")


@pytest.mark.parametrize(
    ("numpy", "torch", "found"),
    [("1.26.4", "2.2.2", 0), ("2.0.0", "2.3.0", 0), ("2.0.0", "2.2.2", 1), ("2.0.0", "", 0)],
)
def test_dep055_wants_numpy_1_with_an_old_torch(a: Any, messages: Any, numpy: str, torch: str, found: int) -> None:
    names = [("numpy", numpy), *([("torch", torch)] if torch else [])]
    said = messages("DEP055", packages(a, *names))
    assert said == ["numpy 2.0.0 in /opt/venv; torch 2.2.2 was compiled against numpy 1"][:found]


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        (("cp311-cp311-manylinux_2_28_x86_64",), 0),
        (("cp38-abi3-manylinux_2_28_x86_64",), 0),
        (("cp312-abi3-manylinux_2_28_x86_64",), 1),
        (("py3-none-manylinux_2_28_x86_64",), 0),
        (("py2.py3-none-manylinux1_x86_64",), 0),
        (("cp310-cp310-manylinux_2_28_x86_64",), 1),
        (("cp310-cp310-linux_x86_64", "cp311-cp311-linux_x86_64"), 0),
    ],
)
def test_dep056_reads_the_python_in_the_tag(a: Any, messages: Any, tags: tuple[str, ...], found: int) -> None:
    said = messages("DEP056", metadata(a, compiled=(a(CompiledPackage, tags=tags),)))
    text = f"in /opt/venv (Python 3.11): numpy 2.4.6 is for {tags[0].split('-')[0]}"
    assert said == [text][:found]


@pytest.mark.parametrize(
    ("glibc", "tags", "found"),
    [
        ("2.28", ("cp311-cp311-manylinux_2_28_x86_64",), 0),
        ("2.27", ("cp311-cp311-manylinux_2_28_x86_64",), 1),
        ("2.27", ("cp311-cp311-manylinux2014_x86_64", "cp311-cp311-manylinux_2_28_x86_64"), 0),
        ("2.16", ("cp311-cp311-manylinux2014_x86_64",), 1),
        ("2.5", ("cp311-cp311-linux_x86_64",), 0),
    ],
)
def test_dep057_reads_the_c_library_in_the_tag(
    a: Any, messages: Any, glibc: str, tags: tuple[str, ...], found: int
) -> None:
    linkage = a(Linkage, environments=(a(TorchLinkage, wanting=()),))
    said = messages("DEP057", metadata(a, compiled=(a(CompiledPackage, tags=tags),)), a(System, glibc=glibc), linkage)
    least = "2.17" if glibc == "2.16" else "2.28"
    assert said == [f"the system has glibc {glibc}; in /opt/venv: numpy 2.4.6 needs glibc {least}"][:found]


@pytest.mark.parametrize(("glibc", "found"), [("2.28", 0), ("2.27", 1)])
def test_dep057_reads_what_files_really_ask_for(a: Any, messages: Any, glibc: str, found: int) -> None:
    linkage = a(Linkage, environments=(a(TorchLinkage, wanting=(a(Wanting, glibc="2.28"),)),))
    said = messages("DEP057", metadata(a, compiled=()), a(System, glibc=glibc), linkage)
    text = "the system has glibc 2.27; in /opt/venv: torch/lib/libtorch_cpu.so asks for GLIBC_2.28"
    assert said == [text][:found]


@pytest.mark.parametrize(
    ("tag", "architecture", "glibc", "said"),
    [
        ("cp311-cp311-manylinux_2_28_x86_64", "x86_64", "2.36", []),
        ("cp311-cp311-manylinux_2_28_x86_64", "aarch64", "2.36", "; this is aarch64"),
        ("cp311-cp311-musllinux_1_2_x86_64", "x86_64", "2.36", "; this is x86_64"),
        ("cp311-cp311-manylinux_2_28_x86_64", "x86_64", None, "; this is x86_64 with musl"),
        ("cp311-cp311-musllinux_1_2_x86_64", "x86_64", None, []),
        ("cp311-cp311-linux_x86_64", "x86_64", "2.36", []),
        ("cp311-cp311-win_amd64", "x86_64", "2.36", "; this is x86_64"),
    ],
)
def test_dep058_reads_the_system_in_the_tag(
    a: Any, messages: Any, tag: str, architecture: str, glibc: str | None, said: Any
) -> None:
    system = a(System, architecture=architecture, glibc=glibc)
    found = messages("DEP058", metadata(a, compiled=(a(CompiledPackage, tags=(tag,)),)), system)
    assert found == ([f"in /opt/venv: numpy 2.4.6 ({tag}){said}"] if said else [])


@pytest.mark.parametrize(("wrong", "found"), [((), 0), ((("vllm 0.33.0", "<3.14,>=3.12"),), 1)])
def test_dep059_says_who_refuses(a: Any, messages: Any, wrong: tuple[tuple[str, str], ...], found: int) -> None:
    said = messages("DEP059", metadata(a, wrong_python=wrong))
    assert said == ["/opt/venv is Python 3.11: vllm 0.33.0 wants <3.14,>=3.12"][:found]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, []),
        ({"interrupted": ("~orch",)}, ["in /opt/venv: left over: ~orch"]),
        ({"doubled": ("numpy",), "interrupted": ("~umpy",)}, ["in /opt/venv: left over: ~umpy; there twice: numpy"]),
    ],
)
def test_dep060_names_what_is_left_over(a: Any, messages: Any, change: dict[str, Any], said: list[str]) -> None:
    assert messages("DEP060", metadata(a, **change)) == said


@pytest.mark.parametrize(
    ("kind", "by_pip", "found"), [("system", (), 0), ("venv", ("torch",), 0), ("system", ("torch",), 1)]
)
def test_dep061_wants_the_systems_python_left_alone(
    a: Any, messages: Any, kind: str, by_pip: tuple[str, ...], found: int
) -> None:
    said = messages("DEP061", metadata(a, by_pip=by_pip), packages(a, ("torch", "2.13.0"), kind=kind))
    assert said == ["1 package of pip in the system's Python 3.11: torch"][:found]


@pytest.mark.parametrize(("may", "found"), [(False, 0), (True, 1)])
def test_dep062_wants_the_guard_on(a: Any, messages: Any, may: bool, found: int) -> None:
    said = messages("DEP062", a(PipSettings, files=(a(PipFile, break_system_packages=may),)))
    assert said == ["break-system-packages is set in pip's settings (/etc/pip.conf)"][:found]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("onnxruntime-gpu",), []),
        (("onnxruntime", "onnxruntime-gpu"), "onnxruntime and onnxruntime-gpu"),
        (("pytorch-triton", "triton"), "pytorch-triton and triton"),
    ],
)
def test_dep063_knows_packages_of_the_same_files(a: Any, messages: Any, names: tuple[str, ...], said: Any) -> None:
    found = messages("DEP063", packages(a, *((name, "1.0") for name in names)))
    assert found == ([f"{said} are both in /opt/venv; they install the same files"] if said else [])


@pytest.mark.parametrize(("broken", "found"), [((), 0), (("/opt/venv",), 1)])
def test_dep064_wants_the_python_behind_it(a: Any, messages: Any, broken: tuple[str, ...], found: int) -> None:
    said = messages("DEP064", a(EnvironmentLinks, broken=broken))
    assert said == ["the Python behind /opt/venv is gone"][:found]


@pytest.mark.parametrize(("python", "found"), [("3.11", 0), ("3.12", 1)])
def test_dep065_wants_the_expected_python(a: Any, messages: Any, python: str, found: int) -> None:
    said = messages("DEP065", a(Spec, expect=Expect(python=python)))
    assert said == ["/opt/venv is Python 3.11; provision.toml expects 3.12"][:found]
