"""Main memory as it is handed out: kills, pressure, swap, reservations, limits of this session."""

from __future__ import annotations

from collections.abc import Iterator

from provision.catalog import tables
from provision.check import ERROR, NOTE, WARNING, Finding, NotApplicable, check
from provision.checks._words import counted, listed, size
from provision.fact import Absent, Missing
from provision.facts.control_group import ControlGroup
from provision.facts.gpus import Gpus
from provision.facts.limits import SharedMemory
from provision.facts.memory import Memory
from provision.facts.memory_settings import MemorySettings, ProcessLimits
from provision.facts.pci import NvidiaCards
from provision.plan import GpuMemory
from provision.spec import Spec


@check("MEM050", WARNING, cause="host-ram-oom-killed")
def control_group_killed_processes(group: ControlGroup) -> Iterator[Finding]:
    """This session's control group has killed processes that reached its memory limit.

    In a container the kernel log is often out of reach, and an engine that was killed leaves no word: its log just ends,
    with exit status 137. The group itself keeps count.

    ## Fix
    Raise the container's or the service's memory limit, or load less: fewer workers, a narrower precision, no copy of the
    weights in main memory.

    ## Proof
    MEM-P3: the container loads the weights in every precision inside its limit.
    """
    if group.oom_kills is None:
        raise Missing("the control group does not count its kills")
    if group.oom_kills:
        yield Finding(
            f"the control group of this session has killed {counted(group.oom_kills, 'process', 'processes')} for its limit",
            measured={"oom_kills": group.oom_kills},
            needed={"oom_kills": 0},
            fix=("cat /proc/self/cgroup   # then raise memory.max of that group, or the container's --memory",),
        )


@check("MEM051", WARNING, cause="host-memory-occupied")
def machine_waits_for_memory(settings: MemorySettings) -> Iterator[Finding]:
    """Programs stand still most of the time because there is no memory.

    The kernel measures how long every task waited for memory at once. At this share the machine does little but move
    pages; loading weights takes hours, and a killer such as systemd-oomd is about to choose a victim.

    ## Fix
    Stop what is not needed, or give the machine more memory. More swap only prolongs it.

    ## Proof
    None of its own: `provision doctor --select MEM051` measures the last minute again.
    """
    row = tables.thresholds().limit["stalled_percent"]
    if settings.stalled_percent is None:
        raise NotApplicable("this kernel does not measure pressure")
    if settings.stalled_percent >= row.value:
        yield Finding(
            f"in the last minute every task waited for memory {settings.stalled_percent:g} % of the time",
            measured={"stalled_percent": settings.stalled_percent},
            needed={"stalled_percent_below": row.value},
            fix=("ps -eo rss,pid,args --sort=-rss | head", "cat /proc/pressure/memory"),
        )


@check("MEM052", NOTE, cause="hugepage-or-swap")
def swap_in_use(settings: MemorySettings) -> Iterator[Finding]:
    """Memory has been moved to swap.

    Pages that an engine needs come back one by one, each at the price of a disk access: the first tokens after a pause
    are slow, and a cache that spilled is slower than none. Compressed swap in memory (zram) costs processor time instead.

    ## Fix
    Free memory, then take the pages back with `swapoff -a && swapon -a`. Keep the engine's own memory out of swap with
    `MemorySwapMax=0` in its unit.

    ## Proof
    None of its own: `provision doctor --select MEM052` reads it again.
    """
    row = tables.thresholds().limit["swap_used_bytes"]
    used = sum(area.used_bytes for area in settings.swap)
    if not settings.swap:
        raise NotApplicable("there is no swap")
    if used >= row.value:
        names = listed(area.name for area in settings.swap if area.used_bytes)
        yield Finding(
            f"{size(used)} are in swap ({names})",
            measured={"used_bytes": used, "swappiness": settings.swappiness},
            needed={"used_bytes_below": row.value},
            fix=("grep -H VmSwap /proc/[0-9]*/status | sort -k2 -n | tail   # whose it is",),
        )


@check("MEM053", WARNING, cause="hugepage-or-swap")
def reserved_huge_pages_lie_idle(settings: MemorySettings, memory: Memory, plan: GpuMemory) -> Iterator[Finding]:
    """Memory that is needed is set aside as huge pages that nobody uses.

    Huge pages reserved with `hugepages=` or vm.nr_hugepages belong to programs that ask for them by name (databases,
    DPDK, virtual machines). To everybody else they are gone, and `free` counts them as used.

    ## Fix
    Reserve fewer: `sysctl vm.nr_hugepages=0`, and take it out of /etc/sysctl.d and the kernel's command line.

    ## Proof
    MEM-P3: the container loads the weights in every precision inside its limit.
    """
    lacking = plan.limit_bytes - memory.available_bytes
    if not settings.reserved_bytes:
        raise NotApplicable("no huge pages are set aside")
    if 0 < lacking <= settings.reserved_free_bytes:
        yield Finding(
            f"{size(settings.reserved_free_bytes)} are unused huge pages; {size(lacking)} lack for the container",
            measured={"reserved_free_bytes": settings.reserved_free_bytes, "available_bytes": memory.available_bytes},
            needed={"available_bytes": plan.limit_bytes},
            fix=("grep -i hugepages /proc/meminfo", "sysctl vm.nr_hugepages=0"),
        )


@check("MEM054", WARNING, cause="ulimit-memlock-or-nofile")
def address_space_limited(limits: ProcessLimits, cards: NvidiaCards | Absent) -> Iterator[Finding]:
    """Processes may use only a limited address space.

    CUDA reserves address space for every GPU and the whole main memory when it starts, far more than it ever fills, and
    mapped weights count too. Under `ulimit -v` this fails with "out of memory" while memory is free.

    ## Fix
    Lift the limit where it is set: `ulimit -v unlimited`, /etc/security/limits.d, `LimitAS=` of a service.

    ## Proof
    None of its own: `provision doctor --select MEM054` reads the limit again.
    """
    if limits.address_space_bytes is not None:
        gpu = " (CUDA reserves far more than it uses)" if not isinstance(cards, Absent) else ""
        yield Finding(
            f"a process may use {size(limits.address_space_bytes)} of address space{gpu}",
            measured={"address_space_bytes": limits.address_space_bytes},
            needed={"address_space_bytes": None},
            fix=("ulimit -v unlimited", "grep -rn -w as /etc/security/limits.conf /etc/security/limits.d"),
        )


@check("MEM055", WARNING, cause="shm-too-small")
def shared_memory_used_up(shm: SharedMemory, cards: NvidiaCards) -> Iterator[Finding]:
    """/dev/shm is large enough and nearly full.

    Workers that were killed leave their segments behind: nobody removes them until the next reboot, and they count as
    memory. NCCL and data loaders then fail as if /dev/shm were too small.

    ## Fix
    Stop the engines, then remove what is left: NCCL's, torch's and Python's segments are named nccl-*, torch_* and psm_*.

    ## Proof
    None of its own: `provision doctor --select MEM055` measures again.
    """  # noqa: S108
    row = tables.thresholds().limit["shared_memory_bytes"]
    if shm.total_bytes < row.value:
        raise NotApplicable("/dev/shm itself is too small (MEM006)")  # noqa: S108
    if shm.free_bytes < row.value:
        yield Finding(
            f"{size(shm.free_bytes)} of {size(shm.total_bytes)} are free in /dev/shm; "
            f"{counted(len(cards.cards), 'GPU')} may need {size(row.value)}",
            measured={"free_bytes": shm.free_bytes},
            needed={"free_bytes": row.value},
            fix=("ls -lt /dev/shm   # then remove what belongs to no running process",),
        )


@check("MEM056", NOTE, cause="insufficient-host-memory")
def main_memory_smaller_than_gpu_memory(memory: Memory, gpus: Gpus) -> Iterator[Finding]:
    """The machine has less main memory than its GPUs together.

    Weights pass through the page cache on their way to the GPUs. With tensor parallelism every rank reads the whole
    checkpoint: what does not stay in main memory is read from the disk again for each of them.

    ## Fix
    More main memory, or a loader in which each rank reads only its part (vLLM: `--load-format sharded_state`).

    ## Proof
    STO-P1 shows what loading takes.
    """
    total = sum(gpu.memory_bytes or 0 for gpu in gpus.gpus)
    if not total:
        raise NotApplicable("no GPU here has memory of its own")
    if memory.limit_bytes < total:
        yield Finding(
            f"{size(memory.limit_bytes)} of main memory for {size(total)} of GPU memory",
            measured={"limit_bytes": memory.limit_bytes},
            needed={"limit_bytes": total},
            fix=("provision disk PATH --model NAME   # what loading takes then",),
        )


@check("MEM057", WARNING, cause="memory-high-throttles")
def control_group_slowed_for_memory(group: ControlGroup) -> Iterator[Finding]:
    """This session's control group is slowed down because it is above its soft memory limit.

    Above `memory.high` the kernel makes every allocation wait while it takes memory back. Nothing fails and nothing is
    logged; loading weights just never ends. Page cache counts: mapping a model larger than the limit is enough.

    ## Fix
    Raise or remove the soft limit: `systemctl set-property UNIT MemoryHigh=infinity`.

    ## Proof
    None of its own: `provision doctor --select MEM057` reads the count again.
    """
    if group.memory_high_bytes is None:
        raise NotApplicable("the control group has no soft memory limit")
    if group.times_above_high:
        yield Finding(
            f"the control group went above its soft limit of {size(group.memory_high_bytes)} "
            f"{counted(group.times_above_high, 'time')} and was slowed down each time",
            measured={"memory_high_bytes": group.memory_high_bytes, "times_above_high": group.times_above_high},
            needed={"times_above_high": 0},
            fix=("cat /proc/self/cgroup   # then raise memory.high of that group",),
        )


@check("MEM058", ERROR, cause="expected-memory-missing")
def less_memory_than_expected(memory: Memory, spec: Spec) -> Iterator[Finding]:
    """The machine has less main memory than provision.toml expects.

    A memory module that failed or was not seated is disabled by the firmware without a word to the operating system.
    The kernel keeps a few per cent for itself: write what `free -g` shows on a machine that is right.

    ## Fix
    Look into the firmware's or the board controller's log for memory errors, and seat or replace the module.

    ## Proof
    None of its own: `provision doctor --select MEM058` reads it again.
    """
    if spec.expect.memory_gib is None:
        raise NotApplicable("provision.toml expects no amount of memory")
    wanted = int(spec.expect.memory_gib * (1 << 30))
    if memory.total_bytes < wanted:
        yield Finding(
            f"{size(memory.total_bytes)} of main memory; provision.toml expects {spec.expect.memory_gib:g} GiB",
            measured={"total_bytes": memory.total_bytes},
            needed={"total_bytes": wanted},
            fix=("dmidecode -t memory | grep -e Size -e Locator", "ipmitool sel list | grep -i -e memory -e dimm"),
        )
