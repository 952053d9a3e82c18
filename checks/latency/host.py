"""What holds the processors back: governors, quotas, heat, page management, missing instructions."""

from __future__ import annotations

from collections.abc import Iterator

from provision.catalog import hardware, tables
from provision.check import ERROR, NOTE, WARNING, Finding, NotApplicable, check
from provision.checks._words import counted, listed
from provision.fact import Absent, Missing
from provision.facts.control_group import ControlGroup
from provision.facts.cpu import Cpu
from provision.facts.environment import Environment
from provision.facts.gpus import Gpus
from provision.facts.memory_settings import MemorySettings
from provision.facts.packages import Packages
from provision.facts.pci import NvidiaCards
from provision.facts.power import CpuPower, Numa

_OWN_GOVERNORS = ("amd-pstate-epp", "intel_pstate")  # for them "powersave" is the ordinary, load-following mode
_SAVING = ("power", "balance_power")


@check("LAT050", WARNING, cause="numa-or-cpu-governor")
def processor_saves_power(power: CpuPower) -> Iterator[Finding]:
    """The processors are told to save power.

    Between two kernels the GPU waits for the processor: tokenising, scheduling and launching run on one or two cores.
    With the governor "powersave" of a driver that takes it literally, those cores stay at their lowest clock; with the
    preference "power" they rise late.

    ## Fix
    `cpupower frequency-set -g performance`, or the profile "performance" of tuned or power-profiles-daemon. Some boards
    fix it in the firmware.

    ## Proof
    LAT-P1: tokens per second in every precision at or above the floor.
    """
    literal = "powersave" in power.governors and power.driver not in _OWN_GOVERNORS
    saving = [word for word in power.preferences if word in _SAVING]
    if literal or saving:
        said = "the governor powersave" if literal else f"the preference {listed(saving)}"
        yield Finding(
            f"{said} is set ({power.driver or 'unknown driver'})",
            measured={"governors": list(power.governors), "preferences": list(power.preferences)},
            needed={"governor": "performance"},
            fix=("cpupower frequency-set -g performance",),
        )


@check("LAT051", NOTE, cause="hugepage-or-swap")
def allocation_waits_for_huge_pages(settings: MemorySettings) -> Iterator[Finding]:
    """Every allocation may wait while the kernel makes huge pages.

    With transparent huge pages "always" and defrag "always" a program stands still while memory is moved together for it.
    On a machine whose memory is full of page cache, as it is after loading weights, these stalls reach many milliseconds.

    ## Fix
    `echo madvise > /sys/kernel/mm/transparent_hugepage/defrag`; the kernel's own default is madvise.

    ## Proof
    LAT-P1: tokens per second in every precision at or above the floor.
    """
    if settings.transparent_huge_pages is None:
        raise NotApplicable("this kernel has no transparent huge pages")
    if (settings.transparent_huge_pages, settings.huge_page_defragmentation) == ("always", "always"):
        yield Finding(
            "transparent huge pages and their defragmentation are both set to always",
            measured={"enabled": "always", "defrag": "always"},
            needed={"defrag": "madvise"},
            fix=("echo madvise > /sys/kernel/mm/transparent_hugepage/defrag",),
        )


@check("LAT052", NOTE, cause="numa-or-cpu-governor")
def kernel_moves_pages_between_nodes(numa: Numa, cards: NvidiaCards) -> Iterator[Finding]:
    """The kernel moves memory between processors by itself on a GPU machine.

    Automatic NUMA balancing unmaps pages to see who touches them. Pages that a GPU reads are never touched by a
    processor: what it costs is page faults and stalls in transfers, and makers of accelerators advise against it.

    ## Fix
    `sysctl kernel.numa_balancing=0`, and bind the engine to the node of its GPU.

    ## Proof
    LAT-P1: tokens per second in every precision at or above the floor.
    """
    nodes = [node for node in numa.nodes if node.cpus]
    if len(nodes) < 2:
        raise NotApplicable("all processors share one memory node")
    if numa.balancing:
        yield Finding(
            f"automatic NUMA balancing is on, with {counted(len(nodes), 'node')} and {counted(len(cards.cards), 'GPU')}",
            measured={"numa_balancing": True, "nodes": len(nodes)},
            needed={"numa_balancing": False},
            fix=("sysctl kernel.numa_balancing=0",),
        )


@check("LAT053", WARNING, cause="cpu-quota")
def processor_quota_used_up(group: ControlGroup) -> Iterator[Finding]:
    """This session's control group is stopped again and again because its processor quota is used up.

    A quota of two processors on a machine with sixty-four does not make programs see two: thread pools start sixty-four
    threads, use up the quota in the first milliseconds of each period, and all stand still for the rest of it. Time to
    the first token and between tokens becomes a multiple.

    ## Fix
    Raise the container's `--cpus` (Kubernetes: limits.cpu), or start as many threads as it allows: `OMP_NUM_THREADS`.

    ## Proof
    LAT-P1: tokens per second in every precision at or above the floor.
    """
    row = tables.thresholds().limit["throttled_percent"]
    if group.cpus is None:
        raise NotApplicable("the control group has no processor quota")
    if group.throttled_periods is None or not group.periods:
        raise NotApplicable("no period of the quota has passed yet")
    share = 100 * group.throttled_periods / group.periods
    if share >= row.value:
        yield Finding(
            f"the quota of {group.cpus:g} processors was used up in {share:.0f} % of {group.periods} periods",
            measured={"throttled_periods": group.throttled_periods, "periods": group.periods, "cpus": group.cpus},
            needed={"throttled_percent_below": row.value},
            fix=(f"export OMP_NUM_THREADS={max(1, int(group.cpus))}", "or raise the container's --cpus"),
        )


@check("LAT054", WARNING, cause="cpu-too-hot")
def processor_was_too_hot(power: CpuPower) -> Iterator[Finding]:
    """A processor has run below its clock because it was too hot.

    The count is the kernel's, since the machine started. A few are normal on a small machine under full load; on a server
    it means a fan, a filter or a heat sink.

    ## Fix
    Look at the fans and the air's way, and at the board controller's log.

    ## Proof
    None of its own: `provision doctor --select LAT054` reads the count again.
    """
    if power.throttled is None:
        raise NotApplicable("the processor does not count this")
    if power.throttled:
        yield Finding(
            f"the first processor was slowed down for heat {counted(power.throttled, 'time')} since this machine started",
            measured={"throttled": power.throttled},
            needed={"throttled": 0},
            fix=("grep . /sys/devices/system/cpu/cpu*/thermal_throttle/package_throttle_count",),
            certainty="likely",
            tell_apart=(
                "watch -d cat /sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count   # under load",
            ),
        )


@check("LAT055", ERROR, cause="cpu-isa-missing")
def installed_package_needs_more_instructions(
    cpu: Cpu, packages: Packages, gpus: Gpus | Absent | Missing
) -> Iterator[Finding]:
    """An installed package needs instructions that this processor does not have.

    Its compiled code uses them without asking: the process ends with "Illegal instruction" and no traceback, often at
    import. In a virtual machine the processor usually has them and the hypervisor hides them. What a package uses only
    where there is no GPU is not asked for beside one.

    ## Fix
    In a virtual machine: give it the host's processor model (`host-passthrough`). Otherwise build the package for this
    processor.

    ## Proof
    LAT-P1: tokens per second in every precision at or above the floor.
    """
    if cpu.microarchitecture is None:
        raise NotApplicable("the table knows instructions of x86-64 processors")
    without_gpu = isinstance(gpus, Absent) or (isinstance(gpus, Gpus) and not gpus.gpus)
    rows = [row for row in hardware.instructions() if row.device == "" or without_gpu]
    for environment in packages.environments:
        here = dict(environment.packages)
        for row in rows:
            version = here.get(row.package)
            if version is None or row.local not in version:
                continue
            lacking = [flag for flag in row.flags if flag not in cpu.flags]
            if lacking:
                yield Finding(
                    f"{row.package} {version} in {environment.prefix} needs {listed(lacking)}; this processor does not have it",
                    measured={"package": row.package, "missing": lacking},
                    needed={"cpu_flags": list(row.flags)},
                    fix=(
                        "grep -m1 flags /proc/cpuinfo",
                        "in a virtual machine: set its processor model to that of the host",
                    ),
                )


@check("LAT056", NOTE, cause="cpu-quota")
def more_threads_than_processors(environment: Environment, cpu: Cpu, group: ControlGroup) -> Iterator[Finding]:
    """OMP_NUM_THREADS asks for more threads than there are processors to run them.

    Threads of one kernel wait for each other at its end. With more threads than processors, each such wait takes a whole
    time slice of the scheduler: many times slower than with the right number, not a little.

    ## Fix
    Set it to the number of physical cores that the process may use.

    ## Proof
    LAT-P1: tokens per second in every precision at or above the floor.
    """
    said = dict(environment.variables).get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if not said.isdigit():
        raise NotApplicable("OMP_NUM_THREADS is not set to a number")
    may = cpu.logical_cpus if group.cpus is None else max(1, int(min(group.cpus, cpu.logical_cpus)))
    if int(said) > may:
        yield Finding(
            f"OMP_NUM_THREADS is {said}; {counted(may, 'processor')} can run them",
            measured={"OMP_NUM_THREADS": int(said)},
            needed={"at_most": may},
            fix=(f"export OMP_NUM_THREADS={may}",),
        )


@check("LAT057", WARNING, cause="debug-switch-left-on")
def kernels_wait_for_each_other(environment: Environment) -> Iterator[Finding]:
    """CUDA_LAUNCH_BLOCKING makes every kernel wait for the one before it.

    It is set to find out which kernel failed, and often stays in the shell's or the service's settings. The processor then
    stands still while each kernel runs, and the next is launched only afterwards: decoding, which is thousands of short
    kernels, suffers most.

    ## Fix
    Take the variable out of the session, the unit or the container.

    ## Proof
    LAT-P1: tokens per second in every precision at or above the floor.
    """
    said = dict(environment.variables).get("CUDA_LAUNCH_BLOCKING", "")
    if said.strip() == "1":
        yield Finding(
            "CUDA_LAUNCH_BLOCKING is 1: every kernel waits for the one before it",
            measured={"CUDA_LAUNCH_BLOCKING": said.strip()},
            needed={"CUDA_LAUNCH_BLOCKING": "0"},
            fix=("unset CUDA_LAUNCH_BLOCKING",),
        )
