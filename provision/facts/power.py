"""How fast the processors may run, and how memory is divided among them."""

from __future__ import annotations

import posixpath
import re

from provision.fact import Absent, fact, probe
from provision.facts.reading import text, whole
from provision.host import Host
from provision.record import record


@fact
class CpuPower:
    """Absent where the kernel does not steer the clocks, as in most virtual machines."""

    driver: str | None  # "intel_pstate", "amd-pstate-epp", "acpi-cpufreq"
    governors: tuple[str, ...]  # in use on any processor, sorted, each once
    preferences: tuple[str, ...]  # energy_performance_preference of any processor, sorted, each once
    throttled: int | None  # times the first processor's package ran below its clock for heat since the start


@record
class NumaNode:
    number: int
    cpus: str  # the kernel's list: "0-31,64-95"; empty: memory without processors
    total_bytes: int
    free_bytes: int


@fact
class Numa:
    nodes: tuple[NumaNode, ...]  # at least one, sorted by number
    balancing: bool | None  # the kernel moves pages to the processor that uses them; None: it cannot


@probe
def cpu_power(host: Host) -> CpuPower:
    """The clock governors and their leaning towards saving energy.

    Sources: ``/sys/devices/system/cpu/cpufreq/policy*``, ``thermal_throttle`` of the first processor.
    """
    policies = host.glob("/sys/devices/system/cpu/cpufreq/policy*")
    if not policies:
        raise Absent("the kernel does not steer the processors' clocks here")
    governors = {text(host, f"{policy}/scaling_governor") for policy in policies}
    preferences = {text(host, f"{policy}/energy_performance_preference") for policy in policies}
    return CpuPower(
        driver=text(host, f"{policies[0]}/scaling_driver"),
        governors=tuple(sorted(word for word in governors if word)),
        preferences=tuple(sorted(word for word in preferences if word)),
        throttled=whole(host, "/sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count"),
    )


@probe
def numa(host: Host) -> Numa:
    """Memory nodes with their processors, size and what is free.

    Sources: ``/sys/devices/system/node/node*``, ``/proc/sys/kernel/numa_balancing``.
    """
    nodes = []
    for folder in host.glob("/sys/devices/system/node/node[0-9]*"):
        said = text(host, f"{folder}/meminfo") or ""
        sizes = dict(re.findall(r"(MemTotal|MemFree):\s+(\d+) kB", said))
        nodes.append(
            NumaNode(
                number=int(posixpath.basename(folder)[4:]),
                cpus=text(host, f"{folder}/cpulist") or "",
                total_bytes=int(sizes.get("MemTotal", 0)) * 1024,
                free_bytes=int(sizes.get("MemFree", 0)) * 1024,
            )
        )
    if not nodes:
        raise Absent("the kernel knows no memory nodes")
    balancing = whole(host, "/proc/sys/kernel/numa_balancing")
    return Numa(
        nodes=tuple(sorted(nodes, key=lambda node: node.number)), balancing=None if balancing is None else balancing > 0
    )
