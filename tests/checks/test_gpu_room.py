"""MEM020-025 and ISO020-023: both sides of every threshold."""

from __future__ import annotations

from typing import Any

import pytest

from provision.facts.gpu_nodes import GpuModules
from provision.facts.gpu_state import ConfidentialComputing, GpuMode, GpuModes, GpuProcess, MigDevice
from provision.facts.gpus import Gpu, Gpus
from provision.facts.memory import Memory
from provision.facts.system import System
from provision.spec import Expect, Spec

GIB = 1 << 30


def modes(a: Any, **changes: Any) -> GpuModes:
    return a(GpuModes, gpus=(a(GpuMode, **changes),))  # type: ignore[no-any-return]


@pytest.mark.parametrize(("window", "found"), [(GIB >> 2, 1), ((GIB >> 2) + 1, 0), (32 * GIB, 0)])
def test_mem020_wants_more_than_the_small_window(a: Any, messages: Any, window: int, found: int) -> None:
    said = messages("MEM020", modes(a, bar1_bytes=window))
    assert said == ["GPU 0 shows a window of 256 MiB (BAR1); resizable BAR is off"] * found


@pytest.mark.parametrize(
    ("used", "processes", "outcome"),
    [(GIB, 0, "ok"), (GIB + 1, 0, "found"), (GIB + 1, 1, "ok")],
)
def test_mem021_wants_somebody_to_claim_it(a: Any, run_check: Any, used: int, processes: int, outcome: str) -> None:
    fact = modes(a, used_bytes=used, processes=(a(GpuProcess),) * processes)
    result = run_check("MEM021", fact)
    assert result.outcome == outcome
    if outcome == "found":
        assert result.findings[0].message == "GPU 0: 1.0 GiB are taken and no process is listed"
    assert run_check("MEM021", fact, a(System, container="docker")).outcome == "skipped"
    assert run_check("MEM021", modes(a, processes=None)).outcome == "skipped"


def test_mem022_counts_what_draws(a: Any, messages: Any) -> None:
    drawing = tuple(a(GpuProcess, pid=pid, kind="graphics", memory_bytes=GIB // 2) for pid in (900, 901))
    assert messages("MEM022", modes(a, processes=drawing)) == [
        "GPU 0: 2 graphics processes (pid 900 and 901) hold 1.0 GiB"
    ]
    assert messages("MEM022", modes(a, processes=(a(GpuProcess),))) == []


@pytest.mark.parametrize(("limit", "outcome"), [(5 * GIB, "ok"), (5 * GIB - 1, "found")])
def test_mem023_judges_the_memory_that_is_shared(a: Any, run_check: Any, limit: int, outcome: str) -> None:
    shared = a(Gpus, gpus=(a(Gpu, name="NVIDIA GB10", memory_bytes=None, memory_free_bytes=None),))
    result = run_check("MEM023", shared, a(Memory, limit_bytes=limit))
    assert result.outcome == outcome
    if outcome == "found":
        assert result.findings[0].message == (
            "NVIDIA GB10 shares the machine's memory, 5.0 GiB; the weights need 5.0 GiB"
        )
    assert run_check("MEM023").outcome == "skipped"


@pytest.mark.parametrize(("largest", "outcome"), [(5 * GIB, "ok"), (5 * GIB - 1, "found"), (None, "skipped")])
def test_mem024_judges_the_largest_slice(a: Any, run_check: Any, largest: int | None, outcome: str) -> None:
    divided = a(Gpus, gpus=(a(Gpu, mig_mode=True),))
    slices = (a(MigDevice, memory_bytes=largest), a(MigDevice, number=1, memory_bytes=GIB)) if largest else ()
    result = run_check("MEM024", divided, modes(a, mig_devices=slices))
    assert result.outcome == outcome
    if outcome == "found":
        assert result.findings[0].message == "the largest of 2 MIG devices has 5.0 GiB; the weights need 5.0 GiB"
    assert run_check("MEM024", modes(a, mig_devices=slices)).outcome == "skipped"


@pytest.mark.parametrize(("wanted", "outcome"), [(None, "skipped"), (80 * GIB, "ok"), (80 * GIB + 1, "found")])
def test_mem025_wants_the_expected_memory(a: Any, run_check: Any, wanted: int | None, outcome: str) -> None:
    result = run_check("MEM025", a(Gpus, gpus=(a(Gpu),)), a(Spec, expect=Expect(gpu_memory_bytes=wanted)))
    assert result.outcome == outcome
    if outcome == "found":
        assert result.findings[0].message == (
            "GPU 0 (0000:01:00.0) has 85899345920 bytes of memory; provision.toml expects 85899345921"
        )


PRODUCTION = {"on": True, "environment": "production", "developer_tools": False, "ready": True}


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, []),
        ({"developer_tools": True}, ["ISO020"]),
        ({"environment": "simulation"}, ["ISO021"]),
        ({"ready": False}, ["ISO022"]),
    ],
)
def test_iso020_iso021_and_iso022_judge_the_mode(
    a: Any, run_check: Any, change: dict[str, Any], found: list[str]
) -> None:
    mode = a(ConfidentialComputing, **{**PRODUCTION, **change})
    outcomes = {code: run_check(code, mode).outcome for code in ("ISO020", "ISO021", "ISO022")}
    assert outcomes == {code: "found" if code in found else "ok" for code in outcomes}
    assert {run_check(code).outcome for code in outcomes} == {"skipped"}


def test_iso021_and_iso020_say_what_is_not_protected(a: Any, messages: Any) -> None:
    mode = a(ConfidentialComputing, **{**PRODUCTION, "developer_tools": True, "environment": "simulation"})
    assert messages("ISO020", mode) == ["confidential computing is on with developer tools: the GPUs protect nothing"]
    assert messages("ISO021", mode) == ["confidential computing is on in a simulated environment"]


def test_iso022_that_cannot_be_read_is_unknown(a: Any, run_check: Any, messages: Any) -> None:
    closed = a(ConfidentialComputing, **{**PRODUCTION, "ready": None}, unread=(("ready", "permission denied"),))
    assert (run_check("ISO022", closed).outcome, run_check("ISO020", closed).outcome) == ("unknown", "ok")
    waiting = a(ConfidentialComputing, **{**PRODUCTION, "ready": False})
    assert messages("ISO022", waiting) == ["confidential computing is on and the GPUs are not set ready"]


@pytest.mark.parametrize(("open_to_all", "outcome"), [(None, "skipped"), (False, "ok"), (True, "found")])
def test_iso023_wants_counters_closed(a: Any, run_check: Any, open_to_all: bool | None, outcome: str) -> None:
    assert run_check("ISO023", a(GpuModules, profiling_for_all=open_to_all)).outcome == outcome
