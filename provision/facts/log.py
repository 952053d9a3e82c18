"""What the kernel wrote about GPUs and killed processes since boot."""

from __future__ import annotations

from dataclasses import dataclass

from provision.fact import fact


@dataclass(frozen=True, kw_only=True, slots=True)
class Xid:
    code: int
    pci_address: str  # "0000:01:00", as the driver prints it
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
