"""Services that this tool may have set up: whether they run and whether they will after a reboot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from provision.fact import fact, probe
from provision.facts.daemons import Daemons
from provision.facts.system import System
from provision.host import Host
from provision.record import record


@record
class Unit:
    name: str  # "docker.service"; the same name where no systemd is
    active: bool
    state: str  # systemd's ActiveState ("active", "failed", …); "active" or "inactive" by the processes otherwise
    enabled: str | None  # systemd's UnitFileState ("enabled", "masked", …); None where nothing starts services at boot
    reload_needed: bool  # the unit's file has changed since systemd read it


@fact
class Units:
    manager: Literal["systemd", "sysvinit", "none"]
    units: tuple[Unit, ...]  # installed ones of those looked for, sorted by name


_NAMES: tuple[tuple[str, str], ...] = (  # unit, and the name of its process
    ("containerd.service", "containerd"),
    ("docker.service", "dockerd"),
    ("docker.socket", ""),
    ("kubelet.service", "kubelet"),
    ("nvidia-cdi-refresh.service", ""),
    ("nvidia-fabricmanager.service", "nv-fabricmanager"),
    ("nvidia-persistenced.service", "nvidia-persistenced"),
)


@probe
def units(host: Host, system: System, daemons: Daemons) -> Units:
    """The state of the services that matter here.

    Source: ``systemctl show`` where systemd runs, ``/proc`` and the run-level links where it does not.
    """
    if system.init == "systemd":
        fields = "Id,LoadState,ActiveState,UnitFileState,NeedDaemonReload"
        text = host.run("systemctl", "show", f"--property={fields}", *(name for name, _ in _NAMES))
        return Units(manager="systemd", units=tuple(_from_systemd(text)))
    running = {daemon.name for daemon in daemons.running}
    found = []
    for name, process in _NAMES:
        service = name.removesuffix(".service")
        script = host.exists(f"/etc/init.d/{service}") and process != ""
        if process[:15] in running or script:
            active = process[:15] in running
            enabled = None
            if system.init == "sysvinit":
                enabled = "enabled" if host.glob(f"/etc/rc[2345].d/S[0-9][0-9]{service}") else "disabled"
            found.append(
                Unit(
                    name=name,
                    active=active,
                    state="active" if active else "inactive",
                    enabled=enabled,
                    reload_needed=False,
                )
            )
    return Units(manager=system.init, units=tuple(found))


def _from_systemd(text: str) -> Iterator[Unit]:
    blocks = [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in text.split("\n\n")]
    for fields in sorted(blocks, key=lambda one: one.get("Id", "")):
        if "Id" not in fields or fields.get("LoadState") == "not-found":
            continue
        yield Unit(
            name=fields["Id"],
            active=fields.get("ActiveState") == "active",
            state=fields.get("ActiveState", "unknown"),
            enabled=fields.get("UnitFileState") or None,
            reload_needed=fields.get("NeedDaemonReload") == "yes",
        )
