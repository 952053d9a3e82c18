"""What the kernel wrote about GPUs and killed processes since boot."""

from __future__ import annotations

import re
from dataclasses import dataclass

from provision.fact import Absent, Missing, fact, probe
from provision.host import Host

_KEEP = 100
_TIME = r"^(?:\[\s*(?P<time>\d+\.\d+)\] )?.*"
_XID = re.compile(_TIME + r"NVRM: Xid \(PCI:(?P<pci>[0-9a-fA-F:.]+)\): (?P<code>\d+), ?(?P<text>.*)$", re.MULTILINE)
_OOM = re.compile(
    _TIME + r"(?P<cgroup>Memory cgroup out of memory|Out of memory): Killed process (?P<pid>\d+) "
    r"\((?P<name>.*?)\)(?=,? (?:total-vm|UID)|,?$)"
    r"(?:.*?anon-rss:(?P<kib>\d+)kB)?",
    re.MULTILINE,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Xid:
    code: int
    pci_address: str  # "0000:01:00", as the driver prints it: without the function
    text: str  # what stands after the code
    uptime_seconds: float | None  # None: the log carries no time stamps


@dataclass(frozen=True, kw_only=True, slots=True)
class OomKill:
    process: str
    pid: int
    resident_bytes: int | None  # anonymous memory it held
    cgroup: bool  # True: a control group's limit, not the machine's memory
    uptime_seconds: float | None


@fact
class KernelLog:
    xids: tuple[Xid, ...]  # oldest first; the last hundred
    oom_kills: tuple[OomKill, ...]  # likewise


@probe
def kernel_log(host: Host) -> KernelLog:
    """Xid messages (the driver's word for GPU faults) and processes killed for want of memory.

    Source: ``dmesg``, the ring buffer only: on a busy machine the oldest lines are gone. Where the kernel keeps it
    from ordinary users, the fact is missing.
    """
    try:
        text = host.run("dmesg")
    except Absent as reason:
        raise Missing(f"the kernel log cannot be read: {reason.reason}") from None
    return parse(text)


def parse(text: str) -> KernelLog:
    """The kernel log's text as a fact."""
    xids = [
        Xid(code=int(m["code"]), pci_address=m["pci"], text=m["text"].strip(), uptime_seconds=_seconds(m["time"]))
        for m in _XID.finditer(text)
    ]
    kills = [
        OomKill(
            process=m["name"],
            pid=int(m["pid"]),
            resident_bytes=int(m["kib"]) * 1024 if m["kib"] else None,
            cgroup=m["cgroup"].startswith("Memory cgroup"),
            uptime_seconds=_seconds(m["time"]),
        )
        for m in _OOM.finditer(text)
    ]
    return KernelLog(xids=tuple(xids[-_KEEP:]), oom_kills=tuple(kills[-_KEEP:]))


def _seconds(text: str | None) -> float | None:
    return float(text) if text else None
