"""Container engines: who is here already. A client program alone is not an engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from provision.fact import fact

Kind = Literal["docker.io", "docker-ce", "docker", "snap-docker", "podman", "containerd", "crio", "kubelet", "k3s"]


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineFound:
    kind: Kind  # "docker": a dockerd that no package of this system owns
    version: str | None  # of its package; None where no package says
    running: bool
    evidence: tuple[str, ...]  # "package docker.io", "process dockerd (812)", "/usr/bin/dockerd"


@fact
class ContainerEngines:
    found: tuple[EngineFound, ...]  # at least one, sorted by kind
