"""TCP ports that somebody listens on, and to whom they are open."""

from __future__ import annotations

import re
from typing import Literal

from provision.fact import fact, probe
from provision.host import Host, or_none
from provision.record import record

Reach = Literal["all", "some", "loopback"]


@record
class Listener:
    port: int
    reach: Reach  # "all": every address of the machine; "some": one of them; "loopback": this machine only


@fact
class Listeners:
    """Of this network namespace: a container's own, or the machine's."""

    listeners: tuple[Listener, ...]  # sorted by port, the widest reach of each; no address and no program


_LISTENING = "0A"  # linux/net/tcp_states.h
_LINE = re.compile(r"^\s*\d+: ([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4}) [0-9A-F]+:[0-9A-F]{4} ([0-9A-F]{2}) ", re.M)
_WIDTH: dict[Reach, int] = {"loopback": 0, "some": 1, "all": 2}


@probe
def listeners(host: Host) -> Listeners:
    """Ports in the state LISTEN.

    Sources: ``/proc/net/tcp`` and ``/proc/net/tcp6``, which name these before every connection.
    """
    widest: dict[int, Reach] = {}
    for content in (host.read("/proc/net/tcp"), or_none(host.read, "/proc/net/tcp6") or ""):
        for line in _LINE.finditer(content):
            if line[3] != _LISTENING:
                break
            port, reach = int(line[2], 16), _reach(line[1])
            if _WIDTH[reach] >= _WIDTH[widest.get(port, "loopback")]:
                widest[port] = reach
    return Listeners(listeners=tuple(Listener(port=port, reach=reach) for port, reach in sorted(widest.items())))


def _reach(address: str) -> Reach:
    """Addresses stand there as the machine's own 32-bit words: 127.0.0.1 is "0100007F" on x86 and Arm."""
    if set(address) == {"0"}:
        return "all"
    mapped = address.startswith("0000000000000000FFFF0000") and len(address) == 32  # ::ffff:127.0.0.1
    if address == f"{'0' * 24}01000000" or ((len(address) == 8 or mapped) and address.endswith("7F")):
        return "loopback"
    return "some"
