"""Pythons on this machine, and the environments made from them. None of them is run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from provision.fact import fact


@dataclass(frozen=True, kw_only=True, slots=True)
class PythonFound:
    path: str  # "/usr/bin/python3.11"; launchers that are scripts (pyenv's shims) are left out
    version: str  # as far as it is known without running it: "3.11" or "3.11.7"
    externally_managed: bool  # PEP 668: pip refuses to install into it


@dataclass(frozen=True, kw_only=True, slots=True)
class PythonEnvironment:
    prefix: str
    kind: Literal["venv", "conda"]
    version: str | None  # of its Python; None: a conda environment without one
    active: bool  # VIRTUAL_ENV or CONDA_PREFIX names it


@fact
class Pythons:
    version: str  # of the Python that asks: "3.11.2"
    executable: str
    prefix: str
    found: tuple[PythonFound, ...]  # sorted by path
    environments: tuple[PythonEnvironment, ...]  # sorted by prefix
