"""Pythons on this machine, and the environments made from them. None of them is run."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import Literal

from provision.fact import fact, probe
from provision.host import Host, or_none
from provision.record import record


@record
class PythonFound:
    path: str  # "/usr/bin/python3.11"; launchers that are scripts (pyenv's shims) are left out
    version: str  # as far as it is known without running it: "3.11" or "3.11.7"
    externally_managed: bool  # PEP 668: pip refuses to install into it


@record
class PythonEnvironment:
    prefix: str
    kind: Literal["venv", "conda"]
    version: str | None  # of its Python; None: a conda environment without one, or a venv that does not say
    active: bool  # VIRTUAL_ENV or CONDA_PREFIX names it


@fact
class Pythons:
    version: str  # of the Python that asks: "3.11.2"
    executable: str
    prefix: str
    found: tuple[PythonFound, ...]  # sorted by path
    environments: tuple[PythonEnvironment, ...]  # sorted by prefix


@probe
def pythons(host: Host) -> Pythons:
    """The Python that runs this tool, the others on PATH and in the usual places, and environments made from them.

    Sources: ``PATH``, pyenv's, uv's and conda's folders; ``VIRTUAL_ENV``, ``CONDA_PREFIX``,
    ``~/.conda/environments.txt``, ``.venv`` in the working directory. Versions come from names and ``pyvenv.cfg``:
    nothing is run, for a launcher may start anything.
    """
    own = host.interpreter()
    home = or_none(host.env, "HOME") or "/root"
    found = {path: _python(host, path) for path in (host.real(p) for p in _candidates(host, home))}
    active = [or_none(host.env, name) for name in ("VIRTUAL_ENV", "CONDA_PREFIX")]
    prefixes = {prefix.rstrip("/") for prefix in (*active, own["prefix"], *_prefixes(host, home)) if prefix}
    environments = (_environment(host, prefix, prefix in active) for prefix in sorted(prefixes))
    return Pythons(
        version=own["version"],
        executable=own["executable"],
        prefix=own["prefix"],
        found=tuple(python for _, python in sorted(found.items()) if python is not None),
        environments=tuple(environment for environment in environments if environment is not None),
    )


def _candidates(host: Host, home: str) -> Iterator[str]:
    pyenv = or_none(host.env, "PYENV_ROOT") or f"{home}/.pyenv"
    folders = [f for f in (or_none(host.env, "PATH") or "").split(":") if f.startswith("/") and "/shims" not in f]
    for folder in dict.fromkeys((*folders, "/usr/local/bin", "/usr/bin")):
        for path in host.glob(f"{folder}/python3*"):
            if re.fullmatch(r"python3(\.\d+)?", posixpath.basename(path)):
                yield path
    for pattern in (f"{pyenv}/versions/*/bin/python3", f"{home}/.local/share/uv/python/*/bin/python3"):
        yield from host.glob(pattern)
    for prefix in _conda_roots(home):
        if host.exists(f"{prefix}/bin/python3"):
            yield f"{prefix}/bin/python3"


def _conda_roots(home: str) -> tuple[str, ...]:
    return ("/opt/conda", *(f"{home}/{name}" for name in ("miniconda3", "anaconda3", "miniforge3", "mambaforge")))


def _prefixes(host: Host, home: str) -> Iterator[str]:
    yield host.real(".venv")
    yield from (or_none(host.read, f"{home}/.conda/environments.txt") or "").split()
    for root in _conda_roots(home):
        yield root
        yield from host.glob(f"{root}/envs/*")


def _python(host: Host, path: str) -> PythonFound | None:
    name = re.fullmatch(r"python(3\.\d+)", posixpath.basename(path))
    if name is None:  # a launcher, or a file of another name behind the link
        return None
    exact = re.search(rf"/(?:cpython-)?({re.escape(name[1])}\.\d+)(?:/|-)", path)
    library = f"{posixpath.dirname(posixpath.dirname(path))}/lib/python{name[1]}"
    return PythonFound(
        path=path,
        version=exact[1] if exact else name[1],
        externally_managed=host.exists(f"{library}/EXTERNALLY-MANAGED"),
    )


def _environment(host: Host, prefix: str, active: bool) -> PythonEnvironment | None:
    settings = or_none(host.read, f"{prefix}/pyvenv.cfg")
    if settings is not None:
        version = re.search(r"^version(?:_info)?\s*=\s*(\d+\.\d+(?:\.\d+)?)", settings, re.MULTILINE)
        return PythonEnvironment(prefix=prefix, kind="venv", version=version[1] if version else None, active=active)
    if not host.exists(f"{prefix}/conda-meta"):
        return None
    for path in host.glob(f"{prefix}/conda-meta/python-3*.json"):
        version = re.match(r"python-(\d+\.\d+\.\d+)-", posixpath.basename(path))
        if version:
            return PythonEnvironment(prefix=prefix, kind="conda", version=version[1], active=active)
    return PythonEnvironment(prefix=prefix, kind="conda", version=None, active=active)
