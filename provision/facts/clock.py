"""The machine's clock: whether anything keeps it right."""

from __future__ import annotations

from provision.fact import fact, probe
from provision.facts.daemons import Daemons
from provision.host import Host

_KEEPERS = frozenset({"chronyd", "ntpd", "ntpd-rs", "openntpd", "phc2sys", "ptp4l", "systemd-timesyn"})


@fact
class Clock:
    synchronised: bool  # the kernel's own word
    error_us: int  # how far off it may be, as the kernel reckons; 16000000 where nobody has set it for long
    keepers: tuple[str, ...]  # programs that run and keep clocks right, sorted


@probe
def clock(host: Host, daemons: Daemons) -> Clock:
    """Whether a time service keeps the kernel's clock right.

    Sources: ``adjtimex`` with no change asked for (its STA_UNSYNC bit), ``/proc/*/comm``.
    """
    said = host.clock()
    return Clock(
        synchronised=bool(said["synchronised"]),
        error_us=said["error_us"],
        keepers=tuple(sorted({one.name for one in daemons.running} & _KEEPERS)),
    )
