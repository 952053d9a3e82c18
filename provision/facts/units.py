"""Services that this tool may have set up: whether they run and whether they will after a reboot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from provision.fact import fact


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    name: str  # "docker.service"; the same name where no systemd is
    active: bool
    state: str  # systemd's ActiveState ("active", "failed", …); "active" or "inactive" by the processes otherwise
    enabled: str | None  # systemd's UnitFileState ("enabled", "disabled", "masked", …); None without systemd
    reload_needed: bool  # the unit's file has changed since systemd read it


@fact
class Units:
    manager: Literal["systemd", "sysvinit", "none"]
    units: tuple[Unit, ...]  # installed ones of those looked for, sorted by name
