"""How the kernel hands out memory: swap, overcommit, huge pages, mappings, and the pressure it is under."""

from __future__ import annotations

import re

from provision.fact import Missing, fact, probe
from provision.facts.reading import chosen, text, whole
from provision.host import Host
from provision.record import record


@record
class SwapArea:
    name: str  # "/dev/zram0", "/swapfile"
    total_bytes: int
    used_bytes: int


@fact
class MemorySettings:
    """None: this kernel has no such setting, or does not let it be read."""

    swap: tuple[SwapArea, ...]  # in the kernel's order
    swappiness: int | None
    overcommit: int | None  # 0 heuristic, 1 always, 2 never beyond the limit
    commit_limit_bytes: int | None
    committed_bytes: int | None
    map_limit: int | None  # vm.max_map_count
    transparent_huge_pages: str | None  # "always", "madvise", "never"
    huge_page_defragmentation: str | None  # "always", "defer", "defer+madvise", "madvise", "never"
    reserved_bytes: int  # huge pages set aside, of every size
    reserved_free_bytes: int  # of these, the ones that nobody uses
    stalled_percent: float | None  # of the last minute, every task waited for memory (pressure stall information)


@fact
class ProcessLimits:
    """Further limits of the asking process, soft ones. None: unlimited."""

    address_space_bytes: int | None
    processes: int | None
    core_bytes: int | None
    tasks_now: int | None  # threads on the whole machine; None: not told


@probe
def memory_settings(host: Host) -> MemorySettings:
    """The kernel's settings for memory, and how much the machine waits for it.

    Sources: ``/proc/meminfo``, ``/proc/swaps``, ``/proc/sys/vm``, ``/proc/pressure/memory``,
    ``/sys/kernel/mm/transparent_hugepage``, ``/sys/kernel/mm/hugepages``.
    """
    sizes = {n: int(kib) * 1024 for n, kib in re.findall(r"^(\w+):\s+(\d+) kB$", host.read("/proc/meminfo"), re.M)}
    swap = re.findall(r"^(/\S+)\s+\w+\s+(\d+)\s+(\d+)\s", text(host, "/proc/swaps") or "", re.MULTILINE)
    reserved = free = 0
    for folder in host.glob("/sys/kernel/mm/hugepages/hugepages-*kB"):
        kib = int(re.sub(r"\D", "", folder.rsplit("-", 1)[1]) or 0)
        reserved += kib * 1024 * (whole(host, f"{folder}/nr_hugepages") or 0)
        free += kib * 1024 * (whole(host, f"{folder}/free_hugepages") or 0)
    pressure = re.search(r"^full .*?\bavg60=([\d.]+)", text(host, "/proc/pressure/memory") or "", re.MULTILINE)
    thp = "/sys/kernel/mm/transparent_hugepage"
    return MemorySettings(
        swap=tuple(SwapArea(name=n, total_bytes=int(t) * 1024, used_bytes=int(u) * 1024) for n, t, u in swap),
        swappiness=whole(host, "/proc/sys/vm/swappiness"),
        overcommit=whole(host, "/proc/sys/vm/overcommit_memory"),
        commit_limit_bytes=sizes.get("CommitLimit"),
        committed_bytes=sizes.get("Committed_AS"),
        map_limit=whole(host, "/proc/sys/vm/max_map_count"),
        transparent_huge_pages=chosen(host, f"{thp}/enabled"),
        huge_page_defragmentation=_with_plus(text(host, f"{thp}/defrag")),
        reserved_bytes=reserved,
        reserved_free_bytes=free,
        stalled_percent=float(pressure[1]) if pressure else None,
    )


def _with_plus(said: str | None) -> str | None:
    found = re.search(r"\[([\w+-]+)\]", said or "")
    return found[1] if found else None


@probe
def process_limits(host: Host) -> ProcessLimits:
    """Limits on address space, processes and core dumps of this process.

    Sources: ``/proc/self/limits``, ``/proc/loadavg``.
    """
    rows = dict(re.findall(r"^Max ([a-z ]+?)\s{2,}(\S+)\s", host.read("/proc/self/limits"), re.MULTILINE))
    if "address space" not in rows:
        raise Missing("/proc/self/limits has no address space")
    tasks = re.match(r"\S+ \S+ \S+ \d+/(\d+) ", text(host, "/proc/loadavg") or "")
    return ProcessLimits(
        address_space_bytes=_limit(rows["address space"]),
        processes=_limit(rows.get("processes", "unlimited")),
        core_bytes=_limit(rows.get("core file size", "unlimited")),
        tasks_now=int(tasks[1]) if tasks else None,
    )


def _limit(said: str) -> int | None:
    return int(said) if said.isdigit() else None
