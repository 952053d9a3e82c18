"""Container engines: who is here already. A client program alone is not an engine."""

from __future__ import annotations

from typing import Literal, cast

from provision.fact import Absent, fact, probe
from provision.facts.daemons import Daemons
from provision.facts.debian import DebianPackages
from provision.host import Host, or_none
from provision.record import record

Kind = Literal["docker.io", "docker-ce", "docker", "snap-docker", "podman", "containerd", "crio", "kubelet", "k3s"]


@record
class EngineFound:
    kind: Kind  # "docker": a dockerd that no package of this system owns
    version: str | None  # of its package; None where no package says
    running: bool
    evidence: tuple[str, ...]  # "package docker.io", "process dockerd (812)", "/usr/bin/dockerd"


@fact
class ContainerEngines:
    found: tuple[EngineFound, ...]  # at least one, sorted by kind


_PACKAGES: tuple[tuple[str, Kind], ...] = (
    ("containerd", "containerd"),
    ("containerd.io", "containerd"),
    ("cri-o", "crio"),
    ("docker-ce", "docker-ce"),
    ("docker.io", "docker.io"),
    ("kubelet", "kubelet"),
    ("podman", "podman"),
)
_PROGRAMS: tuple[tuple[str, Kind], ...] = (
    ("dockerd", "docker"),
    ("podman", "podman"),
    ("containerd", "containerd"),
    ("crio", "crio"),
    ("kubelet", "kubelet"),
    ("k3s", "k3s"),
)
_PROCESSES: dict[str, Kind] = {
    "dockerd": "docker",
    "containerd": "containerd",
    "crio": "crio",
    "kubelet": "kubelet",
    "k3s-server": "k3s",
    "k3s-agent": "k3s",
    "conmon": "podman",  # podman has no daemon; this watches one of its containers
}


@probe
def container_engines(host: Host, daemons: Daemons, debian: DebianPackages | Absent) -> ContainerEngines:
    """Container engines and node agents that are installed or run here.

    Sources: Debian's packages, the engines' programs on PATH, running processes, snap's folder. A client program
    alone (``docker`` without ``dockerd``) is no engine.
    """
    versions = dict(debian.packages) if isinstance(debian, DebianPackages) else {}
    evidence: dict[Kind, list[str]] = {}
    for package, kind in _PACKAGES:
        if package in versions:
            evidence.setdefault(kind, []).append(f"package {package} {versions[package]}")
    if host.exists("/var/snap/docker/common"):
        evidence.setdefault("snap-docker", []).append("/var/snap/docker/common")
    docker = next((kind for kind in ("docker-ce", "docker.io", "snap-docker") if kind in evidence), "docker")
    for program, kind in _PROGRAMS:
        path = or_none(host.which, program)
        if path is not None:
            evidence.setdefault(cast(Kind, docker) if kind == "docker" else kind, []).append(path)
    running: set[Kind] = set()
    for daemon in daemons.running:
        if daemon.name in _PROCESSES:
            named = _PROCESSES[daemon.name]
            kind = cast(Kind, docker) if named == "docker" else named
            running.add(kind)
            evidence.setdefault(kind, []).append(f"process {daemon.name} ({daemon.pid})")
    if not evidence:
        raise Absent("no container engine is installed")
    return ContainerEngines(
        found=tuple(
            EngineFound(
                kind=kind,
                version=next((versions[p] for p, k in _PACKAGES if k == kind and p in versions), None),
                running=kind in running,
                evidence=tuple(said),
            )
            for kind, said in sorted(evidence.items())
        )
    )
