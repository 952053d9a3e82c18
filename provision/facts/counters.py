"""Numbers that creep towards a limit, and hardware faults that the kernel counts quietly."""

from __future__ import annotations

from provision.fact import Absent, fact, probe
from provision.facts.reading import text, whole
from provision.host import Host


@fact
class KernelCounters:
    """None: not told here."""

    tasks: int | None  # threads on the machine
    tasks_limit: int | None  # the lower of pid_max and threads-max
    open_files: int | None
    open_files_limit: int | None
    connections: int | None  # tracked by the packet filter
    connections_limit: int | None
    panic_seconds: int | None  # kernel.panic: 0 leaves a machine that panicked standing still
    watchdog: bool  # a hardware or software watchdog device is there
    core_pattern: str | None  # where core dumps go: "core", "|/usr/lib/systemd/systemd-coredump …"


@fact
class HostMemoryErrors:
    """What the memory controllers have counted since the start. Absent where the kernel has no driver for them."""

    corrected: int
    uncorrected: int


@fact
class CrashRecords:
    """What a crashed kernel left in the firmware's memory. Absent where that place is empty."""

    names: tuple[str, ...]  # "dmesg-efi-170000000001", sorted


@probe
def kernel_counters(host: Host) -> KernelCounters:
    """Tasks, files and tracked connections against their limits.

    Sources: ``/proc/loadavg``, ``/proc/sys/kernel``, ``/proc/sys/fs/file-nr``, ``/proc/sys/net/netfilter``,
    ``/sys/class/watchdog``.
    """
    loads = (text(host, "/proc/loadavg") or "").split()
    tasks = loads[3].partition("/")[2] if len(loads) > 3 else ""
    limits = [whole(host, f"/proc/sys/kernel/{name}") for name in ("pid_max", "threads-max")]
    files = (text(host, "/proc/sys/fs/file-nr") or "").split()
    numbers = [int(word) for word in files if word.isdigit()]
    return KernelCounters(
        tasks=int(tasks) if tasks.isdigit() else None,
        tasks_limit=min((limit for limit in limits if limit is not None), default=None),
        open_files=numbers[0] - numbers[1] if len(numbers) == 3 else None,
        open_files_limit=numbers[2] if len(numbers) == 3 else None,
        connections=whole(host, "/proc/sys/net/netfilter/nf_conntrack_count"),
        connections_limit=whole(host, "/proc/sys/net/netfilter/nf_conntrack_max"),
        panic_seconds=whole(host, "/proc/sys/kernel/panic"),
        watchdog=bool(host.glob("/sys/class/watchdog/watchdog[0-9]*")),
        core_pattern=text(host, "/proc/sys/kernel/core_pattern"),
    )


@probe
def host_memory_errors(host: Host) -> HostMemoryErrors:
    """Main memory that had to be corrected, or could not be.

    Source: ``/sys/devices/system/edac/mc/mc*/ce_count`` and ``ue_count``.
    """
    folders = host.glob("/sys/devices/system/edac/mc/mc[0-9]*")
    if not folders:
        raise Absent("the kernel watches no memory controller here")
    return HostMemoryErrors(
        corrected=sum(whole(host, f"{folder}/ce_count") or 0 for folder in folders),
        uncorrected=sum(whole(host, f"{folder}/ue_count") or 0 for folder in folders),
    )


@probe
def crash_records(host: Host) -> CrashRecords:
    """Kernel crashes that the firmware kept for the next start.

    Source: ``/sys/fs/pstore`` (and where systemd moves them, ``/var/lib/systemd/pstore``).
    """
    paths = (*host.glob("/sys/fs/pstore/*"), *host.glob("/var/lib/systemd/pstore/*"))
    if not paths:
        raise Absent("no crash was kept")
    return CrashRecords(names=tuple(sorted(path.rsplit("/", 1)[1] for path in paths)))
