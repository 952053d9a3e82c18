"""Python packages that matter to models, by environment, from their metadata: nothing is imported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from provision.fact import fact


@dataclass(frozen=True, kw_only=True, slots=True)
class TorchBuild:
    version: str  # "2.13.0+cpu"
    cuda: str | None  # "12.6": what torch/version.py says it was built for; None: a build without CUDA
    hip: str | None  # ROCm builds: "6.2.41133"


@dataclass(frozen=True, kw_only=True, slots=True)
class PackageEnvironment:
    prefix: str
    kind: Literal["venv", "conda", "system", "user"]
    python: str  # "3.11"
    packages: tuple[tuple[str, str], ...]  # (normalised name, version), sorted; only those on the list
    torch: TorchBuild | None


@fact
class Packages:
    environments: tuple[PackageEnvironment, ...]  # those with any such package; the one in use first
    in_use: str  # prefix of the environment that a plain "python3" would use here
    looked_in: tuple[str, ...]  # every site-packages folder that was read
