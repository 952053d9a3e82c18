"""What installed packages were compiled for, against the Python, the C library and the processor that are here."""

from __future__ import annotations

import re
from collections.abc import Iterator

from provision.catalog.version import numbers, older
from provision.check import ERROR, Finding, NotApplicable, check
from provision.checks._words import listed
from provision.fact import Absent, Missing
from provision.facts.linkage import Linkage
from provision.facts.metadata import PythonMetadata
from provision.facts.native import EnvironmentLinks
from provision.facts.packages import Packages
from provision.facts.system import System
from provision.spec import Spec

# transformers compares these itself when it is imported, and stops (dependency_versions_check.py, pkgs_to_check_at_runtime).
_SHOWN = 4


@check("DEP056", ERROR, cause="python-version-or-abi")
def package_compiled_for_another_python(metadata: PythonMetadata) -> Iterator[Finding]:
    """An installed package was compiled for another Python.

    Its extension modules carry the other Python's number in their names, so this one does not find them: "No module named …_C",
    "cannot import name". Copying site-packages, PYTHONPATH and a replaced system Python do it.

    ## Fix
    Make the environment anew with the Python that is to run it.

    ## Proof
    DEP-P1: what is installed in the image is the lock, no more and no less.
    """
    for one in metadata.environments:
        own = f"cp{one.python.replace('.', '')}"
        wrong = [c for c in one.compiled if not any(_fits_python(tag, own) for tag in c.tags)]
        if wrong:
            said = listed(f"{c.name} {c.version} is for {c.tags[0].partition('-')[0]}" for c in wrong[:3])
            more = f", and {len(wrong) - 3} more" if len(wrong) > 3 else ""
            yield Finding(
                f"in {one.prefix} (Python {one.python}): {said}{more}",
                measured={"packages": [c.name for c in wrong], "python": one.python},
                needed={"python_tag": own},
                fix=(_again(one.prefix, [c.name for c in wrong]),),
            )


def _again(prefix: str, names: list[str]) -> str:
    return f"{prefix}/bin/python3 -m pip install --force-reinstall {' '.join(names[:_SHOWN])}"


def _fits_python(tag: str, own: str) -> bool:
    python, abi, _ = (*tag.split("-"), "", "")[:3]
    for word in python.split("."):
        if word in (own, "py3", "py2", f"py3{own[3:]}") or not word.startswith("cp"):
            return True
        if abi == "abi3" and int(word[3:] or 0) <= int(own[3:]):  # cp38-abi3 runs on every later 3.x
            return True
    return False


@check("DEP057", ERROR, cause="glibc-or-manylinux-too-old")
def package_needs_newer_c_library(
    metadata: PythonMetadata, linkage: Linkage | Absent | Missing, system: System
) -> Iterator[Finding]:
    """An installed package needs a newer C library than the system has.

    Wheels say the oldest one they run on (manylinux_2_28: glibc 2.28), and pip checks it; copying an environment to an older
    system, or a container with an older base, goes around pip. The loader then says "version `GLIBC_2.28' not found".

    ## Fix
    A newer system or base image: Debian 12 has 2.36, Ubuntu 22.04 2.35, RHEL 8 2.28, CentOS 7 2.17.

    ## Proof
    DEP-P1: what is installed in the image is the lock, no more and no less.
    """
    if system.glibc is None:
        raise NotApplicable("the C library is not glibc")
    for one in metadata.environments:
        wrong = [
            (c.name, c.version, least)
            for c in one.compiled
            if (least := _least_glibc(c.tags)) and older(system.glibc, least)
        ]
        files = _wanting(linkage, one.prefix, system.glibc)
        if wrong or files:
            said = [f"{name} {version} needs glibc {least}" for name, version, least in wrong[:3]] or files[:3]
            yield Finding(
                f"the system has glibc {system.glibc}; in {one.prefix}: {listed(said)}",
                measured={"glibc": system.glibc, "packages": [name for name, _, _ in wrong]},
                needed={"glibc": max([least for _, _, least in wrong] or [system.glibc], key=numbers)},
                fix=("getconf GNU_LIBC_VERSION", "use a newer base: provision up builds one"),
            )


def _wanting(linkage: Linkage | Absent | Missing, prefix: str, glibc: str) -> list[str]:
    if not isinstance(linkage, Linkage):
        return []
    files = [w for e in linkage.environments if e.prefix == prefix for w in e.wanting]
    return [f"{w.file} asks for GLIBC_{w.glibc}" for w in files if w.glibc is not None and older(glibc, w.glibc)]


_LEGACY = {"manylinux1": "2.5", "manylinux2010": "2.12", "manylinux2014": "2.17"}


def _least_glibc(tags: tuple[str, ...]) -> str | None:
    """The oldest glibc that any of the tags allows; None where one of them names none."""
    found = []
    for tag in tags:
        name = re.search(r"(manylinux1|manylinux2010|manylinux2014|manylinux_(\d+)_(\d+))_\w+$", tag)
        if name is None:
            return None
        found.append(_LEGACY.get(name[1]) or f"{name[2]}.{name[3]}")
    return min(found, key=numbers, default=None)


@check("DEP058", ERROR, cause="python-version-or-abi")
def package_for_another_kind_of_processor(metadata: PythonMetadata, system: System) -> Iterator[Finding]:
    """An installed package was compiled for another kind of processor or another C library.

    An environment copied from x86 to Arm, or from Alpine to Debian: "wrong ELF class", "cannot open shared object file",
    "Exec format error".

    ## Fix
    Make the environment anew on this machine.

    ## Proof
    DEP-P1: what is installed in the image is the lock, no more and no less.
    """
    musl = system.glibc is None
    for one in metadata.environments:
        wrong = [c for c in one.compiled if not any(_fits_system(tag, system.architecture, musl) for tag in c.tags)]
        if wrong:
            said = listed(f"{c.name} {c.version} ({c.tags[0]})" for c in wrong[:3])
            yield Finding(
                f"in {one.prefix}: {said}; this is {system.architecture}" + (" with musl" if musl else ""),
                measured={"packages": [c.name for c in wrong]},
                needed={"architecture": system.architecture},
                fix=(_again(one.prefix, [c.name for c in wrong]),),
            )


def _fits_system(tag: str, architecture: str, musl: bool) -> bool:
    place = tag.rpartition("-")[2]
    if place.startswith(("manylinux", "musllinux")):
        return place.endswith(f"_{architecture}") and place.startswith("musl") is musl
    return place in ("any", f"linux_{architecture}")


@check("DEP059", ERROR, cause="python-version-or-abi")
def package_refuses_this_python(metadata: PythonMetadata) -> Iterator[Finding]:
    """An installed package does not support the Python it is installed in.

    pip would have refused; copying an environment, or replacing the Python under it, went around pip. It uses syntax or
    modules that this Python does not have.

    ## Fix
    Make the environment anew with a Python that the package supports.

    ## Proof
    DEP-P1: what is installed in the image is the lock, no more and no less.
    """
    for one in metadata.environments:
        if one.wrong_python:
            said = listed(f"{name} wants {wanted}" for name, wanted in one.wrong_python[:3])
            yield Finding(
                f"{one.prefix} is Python {one.python}: {said}",
                measured={"packages": [name for name, _ in one.wrong_python]},
                needed={"python": one.wrong_python[0][1]},
                fix=("python3 -m venv NEW && NEW/bin/python -m pip install -r LOCK",),
            )


@check("DEP064", ERROR, cause="python-version-or-abi")
def environment_without_its_python(links: EnvironmentLinks) -> Iterator[Finding]:
    """The Python that a virtual environment was made from is gone.

    An environment holds a link to it. After an upgrade of the system's Python, or when pyenv or uv removed that release, every
    program of the environment fails with "No such file or directory".

    ## Fix
    Make the environment anew from its lock.

    ## Proof
    None of its own: `provision doctor --select DEP064` looks again.
    """
    if links.broken:
        yield Finding(
            f"the Python behind {listed(links.broken)} is gone",
            measured={"broken": list(links.broken)},
            needed={"broken": []},
            fix=tuple(f"python3 -m venv --clear {prefix}" for prefix in links.broken),
        )


@check("DEP065", ERROR, cause="python-version-or-abi")
def another_python_than_expected(packages: Packages, spec: Spec) -> Iterator[Finding]:
    """The environment in use has another Python than provision.toml expects.

    Locks, wheels and compiled kernels are made for one minor release.

    ## Fix
    Make the environment with that Python.

    ## Proof
    DEP-P1: what is installed in the image is the lock, no more and no less.
    """
    if spec.expect.python is None:
        raise NotApplicable("provision.toml expects no Python release")
    own = next((one for one in packages.environments if one.prefix == packages.in_use), None)
    if own is None:
        raise NotApplicable("the environment in use holds no package that runs models")
    if own.python != spec.expect.python:
        yield Finding(
            f"{own.prefix} is Python {own.python}; provision.toml expects {spec.expect.python}",
            measured={"python": own.python},
            needed={"python": spec.expect.python},
            fix=(f"python{spec.expect.python} -m venv {own.prefix}",),
        )
