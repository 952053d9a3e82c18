"""Service processes that run right now, by name."""

from __future__ import annotations

from dataclasses import dataclass

from provision.fact import fact


@dataclass(frozen=True, kw_only=True, slots=True)
class Daemon:
    name: str  # the kernel's name for it (/proc/PID/comm): "dockerd", "kubelet"
    pid: int


@fact
class Daemons:
    running: tuple[Daemon, ...]  # of the ones looked for, sorted by name and pid; may be empty
