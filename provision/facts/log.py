"""What the kernel wrote since boot: GPU faults, killed processes, and what else stops models (``kernel_events``)."""

from __future__ import annotations

import re

from provision.fact import Absent, Missing, fact, probe
from provision.facts.kernel_events import KernelEvent, events, lines_of
from provision.host import Host
from provision.record import record

_KEEP = 100
_TIME = r"^(?:\[\s*(?P<time>\d+\.\d+)\] )?.*?"
_XID = re.compile(_TIME + r"NVRM: Xid \(PCI:(?P<pci>[0-9a-fA-F:.]+)\): (?P<code>\d+), ?(?P<text>.*)$")
_PROGRAM = re.compile(r"pid='?(?P<pid>\d+)'?(?:, name=(?P<name>[^,]+))?")
_OOM = re.compile(
    _TIME + r"(?P<cgroup>Memory cgroup out of memory|Out of memory): Killed process (?P<pid>\d+) "
    r"\((?P<name>.*?)\)(?=,? (?:total-vm|UID)|,?$)"
    r"(?:.*?anon-rss:(?P<kib>\d+)kB)?"
)
_JOURNAL = ("journalctl", "-k", "-b", "-o", "short-monotonic", "--no-pager", "-q")


@record
class Xid:
    code: int
    pci_address: str  # "0000:01:00", as the driver prints it: without the function
    text: str  # what stands after the code
    uptime_seconds: float | None  # None: the log carries no time stamps
    pid: int | None = None  # of the program that ran, where the driver names one
    process: str | None = None


@record
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
    events: tuple[KernelEvent, ...] | None = None  # by kind and device; None: recorded before they were kept
    source: str = "dmesg"  # or "journalctl"


@probe
def kernel_log(host: Host) -> KernelLog:
    """Xid messages (the driver's word for GPU faults), processes killed for want of memory, and other faults by kind.

    Source: ``dmesg``, the ring buffer only (on a busy machine the oldest lines are gone); where the kernel keeps it from
    this user, the journal's copy (``journalctl -k -b``), which members of adm and systemd-journal may read. Neither:
    the fact is missing.
    """
    return parse(*_text(host))


def parse(text: str, source: str = "dmesg") -> KernelLog:
    """The kernel log's text as a fact."""
    found = lines_of(text)
    xids = [
        Xid(
            code=int(m["code"]),
            pci_address=m["pci"],
            text=m["text"].strip(),
            uptime_seconds=_seconds(m["time"]),
            pid=int(by["pid"]) if by else None,
            process=by["name"] if by else None,
        )
        for line in found
        if "Xid" in line and (m := _XID.match(line))
        for by in (_PROGRAM.match(m["text"]),)
    ]
    kills = [
        OomKill(
            process=m["name"],
            pid=int(m["pid"]),
            resident_bytes=int(m["kib"]) * 1024 if m["kib"] else None,
            cgroup=m["cgroup"].startswith("Memory cgroup"),
            uptime_seconds=_seconds(m["time"]),
        )
        for line in found
        if "Killed process" in line and (m := _OOM.match(line))
    ]
    return KernelLog(xids=tuple(xids[-_KEEP:]), oom_kills=tuple(kills[-_KEEP:]), events=events(found), source=source)


def _text(host: Host) -> tuple[str, str]:
    try:
        return host.run("dmesg"), "dmesg"
    except (Absent, Missing) as reason:
        closed = reason
    try:
        text = host.run(*_JOURNAL)
    except (Absent, Missing):
        text = ""
    if not text.strip():  # the journal shows nothing, and no error, to those who may not read it
        raise Missing(
            f"the kernel log cannot be read: {closed.reason}" if isinstance(closed, Absent) else closed.reason
        )
    return text, "journalctl"


def _seconds(text: str | None) -> float | None:
    return float(text) if text else None
