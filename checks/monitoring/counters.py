"""Limits that are nearly reached, hardware faults that are only counted, and whether anybody would be told."""

from __future__ import annotations

from collections.abc import Iterator

from provision.catalog import tables
from provision.check import ERROR, NOTE, WARNING, Finding, NotApplicable, check
from provision.checks._words import counted, listed
from provision.facts.control_group import ControlGroup
from provision.facts.counters import CrashRecords, HostMemoryErrors, KernelCounters
from provision.facts.journal import Recorders
from provision.facts.pci import NvidiaCards
from provision.facts.system import System


def _nearly_used_up(
    what: str, used: int | None, limit: int | None, percent: int, said: str, fix: tuple[str, ...]
) -> Iterator[Finding]:
    """Where ``percent`` of a limit or more is used; ``what``: its name in ``measured``, ``said``: the finding's words."""
    if used is None or not limit:
        raise NotApplicable(f"{what.replace('_', ' ')} are not counted here, or have no limit")
    if 100 * used / limit >= percent:
        yield Finding(said, measured={what: used, f"{what}_limit": limit}, needed={"percent_below": percent}, fix=fix)


@check("MON050", NOTE, cause="nothing-measures")
def nothing_measures_the_machine(recorders: Recorders, cards: NvidiaCards, system: System) -> Iterator[Finding]:
    """No program measures this GPU machine.

    A card that runs hot, a disk that fills up or an engine that answers slower every day is noticed by users first. None of
    the usual exporters and agents runs here. In a container they run outside and cannot be seen.

    ## Fix
    `prometheus-node-exporter` for the machine and NVIDIA's dcgm-exporter for the cards.

    ## Proof
    None of its own: `provision doctor --select MON050` looks again.
    """
    if system.container != "none":
        raise NotApplicable("in a container the machine's programs are not seen")
    if not recorders.metrics:
        yield Finding(
            f"none of the known exporters and agents runs on this machine with {counted(len(cards.cards), 'NVIDIA card')}",
            measured={"metrics": []},
            needed={"metrics": ["node_exporter", "dcgm-exporter"]},
            fix=("apt-get install prometheus-node-exporter",),
            certainty="likely",
            tell_apart=("ss -ltnp | grep -e 9100 -e 9400   # node and dcgm exporters' ports",),
        )


@check("MON051", WARNING, cause="task-limit")
def tasks_nearly_used_up(counters: KernelCounters) -> Iterator[Finding]:
    """The machine has nearly used up its task numbers.

    Every thread takes one. At the limit nothing can be started, not even a shell: "fork: Cannot allocate memory", "can't
    start new thread".

    ## Fix
    Look for the program that leaks threads; raise kernel.pid_max where the work really needs it.

    ## Proof
    None of its own: `provision doctor --select MON051` counts again.
    """
    yield from _nearly_used_up(
        "tasks",
        counters.tasks,
        counters.tasks_limit,
        tables.thresholds().limit["tasks_percent"].value,
        f"{counters.tasks} tasks of at most {counters.tasks_limit}",
        fix=("ps -eo nlwp,pid,args --sort=-nlwp | head",),
    )


@check("MON052", WARNING, cause="file-handle-limit")
def file_handles_nearly_used_up(counters: KernelCounters) -> Iterator[Finding]:
    """The machine has nearly used up its file handles.

    Shards, sockets and devices are handles. At the limit every program fails with "Too many open files in system".

    ## Fix
    Look for the program that leaks them; raise fs.file-max.

    ## Proof
    None of its own: `provision doctor --select MON052` counts again.
    """
    yield from _nearly_used_up(
        "open_files",
        counters.open_files,
        counters.open_files_limit,
        tables.thresholds().limit["open_files_percent"].value,
        f"{counters.open_files} open files of at most {counters.open_files_limit}",
        fix=('for p in /proc/[0-9]*; do echo "$(ls $p/fd 2>/dev/null | wc -l) $p"; done | sort -n | tail',),
    )


@check("MON053", WARNING, cause="connection-table-full")
def connection_table_nearly_full(counters: KernelCounters) -> Iterator[Finding]:
    """The packet filter has nearly used up its table of connections.

    When it is full, new connections are dropped without a word: clients time out while the engine is idle.

    ## Fix
    Raise net.netfilter.nf_conntrack_max, and look for clients that open a connection for every request.

    ## Proof
    None of its own: `provision doctor --select MON053` counts again.
    """
    yield from _nearly_used_up(
        "connections",
        counters.connections,
        counters.connections_limit,
        tables.thresholds().limit["connections_percent"].value,
        f"{counters.connections} tracked connections of at most {counters.connections_limit}",
        fix=("sysctl net.netfilter.nf_conntrack_max=1048576", "ss -s"),
    )


@check("MON054", ERROR, cause="host-memory-errors")
def main_memory_failed(errors: HostMemoryErrors) -> Iterator[Finding]:
    """Main memory has lost data.

    The memory controller found errors that it could not correct. Weights, caches and gradients that passed through that
    module may be wrong, and the next such error may stop the machine.

    ## Fix
    Find the module (`edac-util -v`, `ras-mc-ctl --errors`, the board controller's log) and replace it.

    ## Proof
    None of its own: `provision doctor --select MON054` reads the count again.
    """
    if errors.uncorrected:
        yield Finding(
            f"{counted(errors.uncorrected, 'uncorrected memory error')} since this machine started",
            measured={"uncorrected": errors.uncorrected, "corrected": errors.corrected},
            needed={"uncorrected": 0},
            fix=(
                "grep -H . /sys/devices/system/edac/mc/mc*/*/dimm_label /sys/devices/system/edac/mc/mc*/*/dimm_ue_count",
            ),
        )


@check("MON055", NOTE, cause="host-memory-errors")
def main_memory_corrected_errors(errors: HostMemoryErrors) -> Iterator[Finding]:
    """Main memory had to be corrected.

    A single corrected error is a cosmic ray; many on one module announce its end.

    ## Fix
    Watch the count. Replace a module whose count grows.

    ## Proof
    None of its own: `provision doctor --select MON055` reads the count again.
    """
    if errors.corrected and not errors.uncorrected:
        yield Finding(
            f"{counted(errors.corrected, 'corrected memory error')} since this machine started",
            measured={"corrected": errors.corrected},
            needed={"corrected": 0},
            fix=(
                "grep -H . /sys/devices/system/edac/mc/mc*/*/dimm_label /sys/devices/system/edac/mc/mc*/*/dimm_ce_count",
            ),
        )


@check("MON056", WARNING, cause="kernel-crashed-before")
def kernel_crashed_before(crashes: CrashRecords) -> Iterator[Finding]:
    """The kernel has crashed, and the firmware kept its last words.

    That is why the machine restarted. Nobody removes these records by themselves, so the crash may be an old one.

    ## Fix
    Read them, act on them, then remove them: the firmware's memory is small.

    ## Proof
    None of its own: `provision doctor --select MON056` looks again.
    """
    yield Finding(
        f"{counted(len(crashes.names), 'record')} of a crashed kernel: {listed(crashes.names[:3])}",
        measured={"names": list(crashes.names)},
        needed={"names": []},
        fix=("ls -l /sys/fs/pstore /var/lib/systemd/pstore", "grep -h -m1 -i -e panic -e oops /sys/fs/pstore/*"),
    )


@check("MON057", NOTE, cause="panic-stays-down")
def panicked_machine_stays_down(counters: KernelCounters, cards: NvidiaCards, system: System) -> Iterator[Finding]:
    """A GPU server that panics stays where it is.

    kernel.panic is 0 and no watchdog is there: after a kernel panic the machine shows its last words to an empty room until
    somebody presses a button. Hypervisors and board controllers may watch from outside.

    ## Fix
    `sysctl kernel.panic=10`, or a hardware watchdog that systemd feeds (RuntimeWatchdogSec=).

    ## Proof
    None of its own: `provision doctor --select MON057` reads the settings again.
    """
    if system.container != "none" or system.virtualization != "none":
        raise NotApplicable("this machine is restarted from outside")
    if counters.panic_seconds is None:
        raise NotApplicable("the kernel does not say what it does after a panic")
    if counters.panic_seconds == 0 and not counters.watchdog:
        yield Finding(
            f"kernel.panic is 0 and no watchdog is there, on a machine with {counted(len(cards.cards), 'NVIDIA card')}",
            measured={"panic_seconds": 0, "watchdog": False},
            needed={"panic_seconds": 10},
            fix=("echo kernel.panic=10 > /etc/sysctl.d/90-panic.conf && sysctl --system",),
        )


@check("MON058", WARNING, cause="task-limit")
def control_group_tasks_nearly_used_up(group: ControlGroup) -> Iterator[Finding]:
    """This session's control group has nearly used up its tasks.

    Containers and services get a limit of their own. Engines start hundreds of threads for each GPU; at the limit they fail
    with "can't start new thread" or "Resource temporarily unavailable" while the machine is fine.

    ## Fix
    `--pids-limit` of the container, `TasksMax=` of the service.

    ## Proof
    None of its own: `provision doctor --select MON058` counts again.
    """
    yield from _nearly_used_up(
        "tasks",
        group.tasks,
        group.tasks_limit,
        tables.thresholds().limit["tasks_percent"].value,
        f"{group.tasks} tasks of the {group.tasks_limit} that this control group may have",
        fix=("cat /proc/self/cgroup   # then raise pids.max of that group",),
    )
