"""Faults induced at the driver's library: scenario, stub, real binding, child process, fact, check, all in one go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from provision import __version__, check
from provision.fact import collect
from provision.host import LocalHost
from provision.plan import GpuMemory
from provision.spec import Expect, Spec

from .scenario import H100, RTX4090, Card, board, machine

check.load()
FACTS = (
    *("ConfidentialComputing", "GpuClocks", "GpuErrors", "GpuLinks", "GpuModes", "Gpus", "NvSwitches"),
    *("Memory", "System"),
)
GIB = 1 << 30
PLAN = GpuMemory(device="cuda", weight_bytes={"nf4": 20 * GIB}, tolerance=0.25, limit_bytes=8 * GIB)
GRAPHICS = {"graphics": "900 104857600"}


def pair(card: Card, **changes: object) -> list[Card]:
    """Two cards that reach each other, the first with something changed."""
    both = {"topology.1": 20, "p2p.1": 0, "topology.0": 20, "p2p.0": 0}
    return [{**card, **both, **changes}, {**card, **both}]


def linked(**changes: object) -> list[Card]:
    first, second = board(2, 4)
    return [{**first, **changes}, second]


def bridged() -> list[Card]:
    """Four cards of which 0 and 1 are joined, and 2 and 3."""
    other = {0: 2, 1: 1, 2: 4, 3: 3}
    ends = [{f"link_bus_id.{n}": f"00000000:{other[g]:02X}:00.0" for n in range(2)} for g in range(4)]
    return [{**card, **ends[g], "link_end": 0, "fabric": "0 0 0"} for g, card in enumerate(board(4, 2))]


MIG = {"mig": "1 1", "mig_max": 7}
FAULTS: list[tuple[str, str]] = [
    ("CUD008", machine([H100, {"handle": "error 15"}])),
    ("CUD026", machine(pair(H100, compute_mode=2))),
    ("CUD027", machine(pair(H100, compute_mode=3))),
    ("CUD028", machine(pair(H100, **MIG))),
    ("CUD029", machine(pair(H100, mig="0 1"))),
    ("CUD032", machine(linked(fabric="2 0 0"))),
    ("CUD032", machine(linked(fabric="3 0 0x55"))),
    ("CUD033", machine([H100, RTX4090])),
    ("CUD035", machine(pair(H100, **{"field.230": 4}))),
    ("CUD044", machine(pair(H100, vbios="96.00.89.00.01"))),
    ("ISO020", machine([H100], confidential="2 1 1", confidential_ready=1)),
    ("ISO021", machine([H100], confidential="1 1 0", confidential_ready=1)),
    ("ISO022", machine([H100], confidential="2 1 0", confidential_ready=0)),
    ("LAT003", machine(pair(H100, persistence=0))),
    ("LAT020", machine(pair(H100, reasons=0x48))),
    ("LAT021", machine(pair(H100, reasons=0x88))),
    ("LAT022", machine(pair(RTX4090, power_limit=300000))),
    ("LAT023", machine(pair(H100, reasons=0x2))),
    ("LAT024", machine(pair(H100, celsius=87))),
    ("LAT029", machine(linked(**{"link.2": 0}))),
    ("LAT030", machine(linked(**{"link.3": 0}))),
    ("LAT031", machine(bridged())),
    ("LAT032", machine(pair(H100, **{"p2p.1": 1}))),
    ("LAT036", machine(pair(H100, virtualization=2, licensed=0))),
    ("MEM003", machine(pair({**RTX4090, "memory": f"{8 * GIB} {8 * GIB}"}))),
    ("MEM004", machine([{**H100, "memory": f"{80 * GIB} {2 * GIB}"}])),
    ("MEM021", machine([{**H100, "memory2": f"{80 * GIB} 540000000 {20 * GIB}"}])),
    ("MEM020", machine(pair(RTX4090, bar1="268435456 0 0"))),
    ("MEM022", machine(pair(RTX4090, **GRAPHICS))),
    ("MEM024", machine([{**H100, **MIG, "mig.0": "1 9856"}])),
    ("MON020", machine(pair(H100, uncorrected=1))),
    ("MON021", machine(pair(H100, rows="0 8 0 1"))),
    ("MON022", machine(pair(H100, rows="0 1 1 0"))),
    ("MON023", machine(pair(H100, retired_pending=1))),
    ("MON024", machine(pair(H100, **{"retired.0": 60, "retired.1": 3}))),
    ("MON025", machine(pair(H100, ecc="0 0"))),
    ("MON026", machine(pair(H100, ecc="1 0"))),
    ("MON027", machine(pair(H100, banks="5000 100 10 6 4"))),
    ("MON028", machine(pair(H100, rows="0 512 0 0"))),
    ("MON029", machine(pair(H100, sram_exceeded=1))),
    ("MON039", machine(pair(H100, inforom_check="error 14"))),
    ("MON040", machine(linked(**{"link_errors.1.0": 12}))),
]
BEYOND = [("MEM056", machine([{**H100, "memory": f"{99999 * GIB} {99999 * GIB}"}]))]  # more than any main memory
# What [expect] in provision.toml asks of two H100 with four NVLinks.
EXPECTED: list[tuple[str, str, Expect]] = [
    ("CUD007", machine(linked()), Expect(gpus=8)),
    ("CUD034", machine(linked()), Expect(gpu_model="H200")),
    ("LAT038", machine(linked(**{"link.2": 0})), Expect(nvlinks=4)),
    ("MEM025", machine(linked()), Expect(gpu_memory_bytes=141 * GIB)),
]


NOTHING = Expect()


def outcome(code: str, expect: Expect = NOTHING) -> check.Result:
    sections: dict[type, Any] = {GpuMemory: PLAN, Spec: Spec(expect=expect)}
    (result,) = check.run(collect(LocalHost(), "here", __version__, FACTS), sections, codes=(code,))
    return result


@pytest.mark.parametrize(("code", "scenario"), [*FAULTS, *BEYOND], ids=[code for code, _ in [*FAULTS, *BEYOND]])
def test_a_fault_behind_the_real_binding_is_found(nvml_stub: Callable[[str], None], code: str, scenario: str) -> None:
    nvml_stub(scenario)
    result = outcome(code)
    assert result.outcome == "found", f"{result.outcome}: {result.reason}"


def test_main_memory_as_large_as_the_gpus_is_no_finding(nvml_stub: Callable[[str], None]) -> None:
    nvml_stub(machine([{**H100, "memory": f"{1 << 20} {1 << 20}"}]))
    assert outcome("MEM056").outcome == "ok"


@pytest.mark.parametrize(("code", "scenario", "expect"), EXPECTED, ids=[code for code, *_ in EXPECTED])
def test_a_machine_that_is_not_what_was_expected_is_found(
    nvml_stub: Callable[[str], None], code: str, scenario: str, expect: Expect
) -> None:
    nvml_stub(scenario)
    assert outcome(code, expect).outcome == "found"
    assert outcome(code, Expect(gpus=2, gpu_model="H100", nvlinks=3, gpu_memory_bytes=70 * GIB)).outcome == "ok"


@pytest.mark.parametrize("scenario", [machine(pair(H100)), machine(linked())], ids=["pair", "board"])
def test_healthy_cards_give_none_of_these_findings(nvml_stub: Callable[[str], None], scenario: str) -> None:
    nvml_stub(scenario)
    snapshot = collect(LocalHost(), "here", __version__, FACTS)
    sections: dict[type, Any] = {GpuMemory: PLAN, Spec: Spec()}
    results = check.run(snapshot, sections, codes=sorted({code for code, _ in FAULTS}))
    assert [(r.code, r.reason, r.findings) for r in results if r.outcome not in ("ok", "skipped")] == []
