"""Two sockets, 256 processors, eight memory nodes: counted, and asked no more than once for each."""

from __future__ import annotations

import collections
import time
from typing import Any

from provision import facts
from provision.fact import collect
from provision.facts.cpu import Cpu
from provision.facts.power import CpuPower, Numa
from provision.recorded import RecordedHost

facts.load()
CPUS, NODES = 256, 8
FLAGS = " ".join(f"flag{n}" for n in range(180))  # as many as a server of 2024 lists
SYS = "/sys/devices/system"


class Counted(RecordedHost):
    """Counts what it is asked."""

    def __init__(self, answers: dict[str, Any]) -> None:
        super().__init__(answers)
        self.asked: collections.Counter[str] = collections.Counter()

    def read(self, path: str) -> str:
        self.asked[path] += 1
        return super().read(path)


def answers() -> dict[str, Any]:
    blocks = (
        f"processor\t: {n}\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC\nphysical id\t: {n // 64 % 2}\n"
        f"core id\t\t: {n % 64}\nflags\t\t: lm {FLAGS}\n"
        for n in range(CPUS)
    )
    known: dict[str, str] = {"/proc/cpuinfo": "\n".join(blocks)}
    for n in range(CPUS):
        known[f"{SYS}/cpu/cpufreq/policy{n}/scaling_governor"] = "powersave\n" if n == 200 else "performance\n"
    known[f"{SYS}/cpu/cpufreq/policy0/scaling_driver"] = "amd-pstate-epp\n"
    for n in range(NODES):
        known[f"{SYS}/node/node{n}/meminfo"] = f"Node {n} MemTotal: 1000 kB\nNode {n} MemFree: 10 kB\n"
        known[f"{SYS}/node/node{n}/cpulist"] = f"{n * 32}-{n * 32 + 31}\n"
    found: dict[str, Any] = {f"read {path}": {"known": text} for path, text in known.items()}
    found[f"glob {SYS}/cpu/cpufreq/policy*"] = {"known": [f"{SYS}/cpu/cpufreq/policy{n}" for n in range(CPUS)]}
    found[f"glob {SYS}/node/node[0-9]*"] = {"known": [f"{SYS}/node/node{n}" for n in range(NODES)]}
    return found


def test_a_machine_with_256_processors() -> None:
    host = Counted(answers())
    started = time.process_time()
    snapshot = collect(host, "large", "0", ["Cpu", "CpuPower", "Numa"])
    spent = time.process_time() - started
    cpu, power, numa = snapshot.known(Cpu), snapshot.known(CpuPower), snapshot.known(Numa)
    assert cpu and (cpu.logical_cpus, cpu.cores, cpu.sockets, len(cpu.flags)) == (CPUS, 128, 2, 181)
    assert power and power.governors == ("performance", "powersave")
    assert numa and [node.cpus for node in numa.nodes][-1] == "224-255" and len(numa.nodes) == NODES
    assert max(host.asked.values()) == 1
    assert spent < 2.0  # processor seconds: the bound on anything the doctor reads; it took 0.01
