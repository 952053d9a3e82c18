"""What installed Python packages require of each other and of the system, from their metadata: nothing is imported."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from provision.fact import Absent, NotKnown, fact, probe
from provision.facts import requirement
from provision.facts.packages import PackageEnvironment, Packages, metadata_head, metadata_places
from provision.facts.reading import text
from provision.facts.system import System
from provision.host import Host, or_none
from provision.record import record

_ENVIRONMENTS = 3  # the one in use first; each costs a few hundred small files
_DISTRIBUTION_OWN = "/usr/lib/python3/dist-packages"  # the distribution patches what these require


@record
class Unmet:
    package: str
    version: str
    requires: str  # "tokenizers<0.22,>=0.21"
    name: str  # of what is required, normalised
    found: str | None  # its version; None: it is not installed


@record
class CompiledPackage:
    name: str
    version: str
    tags: tuple[str, ...]  # of its wheel: "cp311-cp311-manylinux_2_28_x86_64"


@record
class EnvironmentMetadata:
    prefix: str
    python: str
    packages: int  # metadata folders that were read
    unmet: tuple[Unmet, ...]  # sorted; of extras only those that an installed package asks for ("ray[default]")
    wrong_python: tuple[tuple[str, str], ...]  # (package version, Requires-Python) that this Python does not meet
    compiled: tuple[CompiledPackage, ...]  # wheels for one Python, one C library or one kind of processor
    doubled: tuple[str, ...]  # packages with two metadata folders in one place
    interrupted: tuple[str, ...]  # "~orch": what pip leaves when it is stopped
    by_pip: tuple[str, ...]  # packages that pip put among an externally managed Python's own


@fact
class PythonMetadata:
    environments: tuple[EnvironmentMetadata, ...]  # at most three, the one in use first
    not_read: tuple[str, ...]  # prefixes of further environments


@probe
def python_metadata(host: Host, packages: Packages, system: System) -> PythonMetadata:
    """Which requirements of installed packages the installed versions do not meet, and what their wheels were made for.

    Sources: ``METADATA`` (core metadata: Requires-Dist, Requires-Python), ``WHEEL`` (Tag) and ``INSTALLER`` in every
    ``*.dist-info`` of the package folders of ``Packages``, ``PKG-INFO`` in every ``*.egg-info`` (or that file itself).
    """
    chosen = packages.environments[:_ENVIRONMENTS]
    made = [_environment(host, one, _folders_of(one, packages), system.architecture) for one in chosen]
    rest = tuple(one.prefix for one in packages.environments[_ENVIRONMENTS:])
    return PythonMetadata(environments=tuple(made), not_read=rest)


def _folders_of(environment: PackageEnvironment, packages: Packages) -> list[str]:
    """The package folders that belong to it: those below its prefix and below no longer prefix, of its Python."""
    prefixes = [one.prefix for one in packages.environments]
    folders = []
    for folder in packages.looked_in:
        owner = max((p for p in prefixes if f"{folder}/".startswith(f"{p}/")), key=len, default=None)
        python = posixpath.basename(posixpath.dirname(folder)).removeprefix("python")
        if owner == environment.prefix and python in ("3", environment.python):
            folders.append(folder)
    return folders


@record
class _Package:
    name: str
    version: str
    folder: str  # of its metadata, or the file that it is
    head: str  # METADATA up to the description


def _environment(
    host: Host, environment: PackageEnvironment, folders: list[str], architecture: str
) -> EnvironmentMetadata:
    found, doubled = [], []
    for folder in folders:
        here = [_package(host, path) for path in metadata_places(host, folder)]
        # Of pip's own kind only: an *.egg-info beside one is nothing that an installation of pip's left behind.
        names = [one.name for one in here if one is not None and one.folder.endswith(".dist-info")]
        doubled += sorted({name for name in names if names.count(name) > 1})
        found += [one for one in here if one is not None]
    versions = {one.name: one.version for one in reversed(found)}  # the first folder wins, as it does on sys.path
    markers = requirement.marker_environment(environment.python, architecture)
    extras = _extras(host, found, markers)
    unmet, wrong_python, compiled, by_pip = [], [], [], []
    managed = any(host.exists(f"{posixpath.dirname(folder)}/EXTERNALLY-MANAGED") for folder in folders) or any(
        host.exists(f"/usr/lib/python{environment.python}/EXTERNALLY-MANAGED")
        for folder in folders
        if folder.startswith("/usr/")
    )
    for one in found:
        if one.folder.startswith(_DISTRIBUTION_OWN):
            continue
        unmet += list(_unmet(one, versions, markers, extras.get(one.name, frozenset())))
        wanted = re.search(r"^Requires-Python: *(.+)$", one.head, re.MULTILINE)
        if wanted and _fails(environment.python, wanted[1]):
            wrong_python.append((f"{one.name} {one.version}", wanted[1].strip()))
        tags = re.findall(r"^Tag: *(\S+)$", text(host, f"{one.folder}/WHEEL") or "", re.MULTILINE)
        if tags and not any(tag.endswith("-none-any") for tag in tags):
            compiled.append(CompiledPackage(name=one.name, version=one.version, tags=tuple(sorted(tags))))
        if managed and text(host, f"{one.folder}/INSTALLER") == "pip":
            by_pip.append(one.name)
    return EnvironmentMetadata(
        prefix=environment.prefix,
        python=environment.python,
        packages=len(found),
        unmet=tuple(sorted(set(unmet), key=lambda u: (u.package, u.name, u.requires))),
        wrong_python=tuple(sorted(set(wrong_python))),
        compiled=tuple(sorted(compiled, key=lambda c: (c.name, c.version))),
        doubled=tuple(sorted(set(doubled))),
        interrupted=tuple(sorted(posixpath.basename(p) for folder in folders for p in host.glob(f"{folder}/~*"))),
        by_pip=tuple(sorted(by_pip)),
    )


def _package(host: Host, folder: str) -> _Package | None:
    head = or_none(lambda: metadata_head(host, folder), reasons=NotKnown) or ""
    name = re.search(r"^Name: *(\S+)", head, re.MULTILINE)
    version = re.search(r"^Version: *(\S+)", head, re.MULTILINE)
    if name is None or version is None:  # also an empty folder that an interrupted installation left
        return None
    return _Package(name=requirement.normal(name[1]), version=version[1], folder=folder, head=head)


def _extras(host: Host, found: list[_Package], markers: dict[str, str]) -> dict[str, frozenset[str]]:
    """Package to its extras that installed packages ask for, directly or through extras of their own."""
    asked: dict[str, frozenset[str]] = {}
    brackets = [
        one
        for one in found
        if re.search(r"^Requires-Dist:[^;\n]*\[", one.head, re.MULTILINE)
        and not one.folder.startswith(_DISTRIBUTION_OWN)
        and text(host, f"{one.folder}/INSTALLER") != "conda"  # extras are packages of their own there
    ]
    while True:
        before = dict(asked)
        for one in brackets:
            for _, line in _requirements(one, markers, asked.get(one.name, frozenset())):
                name, wanted = requirement.extras(line)
                if wanted:
                    asked[name] = asked.get(name, frozenset()) | wanted
        if asked == before:
            return asked


def _requirements(one: _Package, markers: dict[str, str], extras: frozenset[str]) -> Iterator[tuple[str, str]]:
    """(name, line) of what holds here. An address, or rules of a later date, is not judged."""
    for line in re.findall(r"^Requires-Dist: *(.+)$", one.head, re.MULTILINE):
        named = re.findall(r"\bextra\s*==\s*['\"]([^'\"]*)['\"]", line)
        active = [word for word in named if requirement.normal(word) in extras]
        if named and not active:
            continue
        try:
            name, _, marker = requirement.parse(line)
            if any(requirement.applies(marker, {**markers, "extra": word}) for word in active or [""]):
                yield name, line
        except requirement.Unreadable:
            continue


def _unmet(one: _Package, versions: dict[str, str], markers: dict[str, str], extras: frozenset[str]) -> Iterator[Unmet]:
    for name, line in _requirements(one, markers, extras):
        _, wanted, _ = requirement.parse(line)
        found = versions.get(name)
        try:
            if found is not None and requirement.meets(found, wanted):
                continue
        except requirement.Unreadable:
            continue
        yield Unmet(package=one.name, version=one.version, requires=f"{name}{wanted}", name=name, found=found)


def _fails(python: str, wanted: str) -> bool:
    """Whether no patch release of this Python could meet it: the exact one is often not known."""
    try:
        return not any(requirement.meets(f"{python}.{patch}", wanted) for patch in (0, 99)) and not requirement.meets(
            python, wanted
        )
    except requirement.Unreadable:
        return False


@record
class CondaCuda:
    prefix: str
    packages: tuple[
        tuple[str, str], ...
    ]  # (name, version) of conda's CUDA libraries, its torch and C++ library, sorted


@fact
class CondaPackages:
    environments: tuple[CondaCuda, ...]  # conda environments with any such package, sorted by prefix


_CONDA = re.compile(
    r"(cuda-\w[\w-]*|cudatoolkit|cudnn|nccl|libcu(?:blas|dnn|fft|rand|solver|sparse)\w*|libnvjitlink|pytorch(?:-cuda|-gpu)?|"
    r"libtorch|libstdcxx(?:-ng)?)-(\d[^-]*)-[^-]+\.json"
)


@probe
def conda_packages(host: Host, packages: Packages) -> CondaPackages:
    """CUDA libraries that conda installed, which pip knows nothing about.

    Source: the names of ``conda-meta/*.json`` (NAME-VERSION-BUILD).
    """
    found = []
    for prefix in sorted({one.prefix for one in packages.environments if one.kind == "conda"}):
        names = (_CONDA.fullmatch(posixpath.basename(path)) for path in host.glob(f"{prefix}/conda-meta/*.json"))
        here = tuple(sorted((name[1], name[2]) for name in names if name))
        if here:
            found.append(CondaCuda(prefix=prefix, packages=here))
    if not found:
        raise Absent("no conda environment with CUDA or torch is here")
    return CondaPackages(environments=tuple(found))
