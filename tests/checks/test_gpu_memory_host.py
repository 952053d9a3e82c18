"""MEM050 to MEM058 and FRG050 to FRG052: both sides of every threshold, with the exact words."""

from __future__ import annotations

from typing import Any

import pytest

from provision.facts.control_group import ControlGroup
from provision.facts.gpus import Gpu, Gpus
from provision.facts.limits import SharedMemory
from provision.facts.memory import Memory
from provision.facts.memory_settings import MemorySettings, ProcessLimits, SwapArea
from provision.facts.native import Preloaded
from provision.plan import GpuMemory
from provision.spec import Expect, Spec

GIB = 1 << 30


@pytest.mark.parametrize(("kills", "said"), [(0, ""), (1, "1 process"), (3, "3 processes")])
def test_mem050_counts_the_groups_kills(a: Any, messages: Any, kills: int, said: str) -> None:
    found = messages("MEM050", a(ControlGroup, oom_kills=kills))
    assert found == ([f"the control group of this session has killed {said} for its limit"] if said else [])


def test_mem050_does_not_know_where_nothing_counts(a: Any, run_check: Any) -> None:
    assert run_check("MEM050", a(ControlGroup, oom_kills=None)).outcome == "unknown"


@pytest.mark.parametrize(("share", "found"), [(59.99, 0), (60.0, 1)])
def test_mem051_wants_little_waiting(a: Any, messages: Any, share: float, found: int) -> None:
    said = messages("MEM051", a(MemorySettings, stalled_percent=share))
    assert said == ["in the last minute every task waited for memory 60 % of the time"][:found]


def test_mem051_needs_a_kernel_that_measures(a: Any, run_check: Any) -> None:
    assert run_check("MEM051", a(MemorySettings, stalled_percent=None)).outcome == "skipped"


@pytest.mark.parametrize(("used", "found"), [(GIB - 1, 0), (GIB, 1)])
def test_mem052_says_what_is_in_swap(a: Any, messages: Any, used: int, found: int) -> None:
    settings = a(MemorySettings, swap=(a(SwapArea, used_bytes=used), a(SwapArea, name="/dev/zram0", used_bytes=0)))
    assert messages("MEM052", settings) == ["1.0 GiB are in swap (/swapfile)"][:found]


def test_mem052_has_nothing_to_say_without_swap(a: Any, run_check: Any) -> None:
    assert run_check("MEM052", a(MemorySettings, swap=())).outcome == "skipped"


@pytest.mark.parametrize(
    ("available", "free", "found"),
    [(8 * GIB, 4 * GIB, 0), (8 * GIB - 1, 4 * GIB, 1), (4 * GIB, 4 * GIB, 1), (4 * GIB - 1, 4 * GIB, 0)],
)
def test_mem053_speaks_only_where_the_reserve_is_what_lacks(
    a: Any, messages: Any, available: int, free: int, found: int
) -> None:
    settings = a(MemorySettings, reserved_bytes=free, reserved_free_bytes=free)
    said = messages("MEM053", settings, a(Memory, available_bytes=available), a(GpuMemory, limit_bytes=8 * GIB))
    assert len(said) == found
    assert all(text.startswith("4.0 GiB are unused huge pages; ") for text in said)


@pytest.mark.parametrize(
    ("limit", "gpu", "said"),
    [
        (None, True, []),
        (8 * GIB, True, ["a process may use 8.0 GiB of address space (CUDA reserves far more than it uses)"]),
        (8 * GIB, False, ["a process may use 8.0 GiB of address space"]),
    ],
)
def test_mem054_wants_no_limit_on_addresses(
    a: Any, messages: Any, limit: int | None, gpu: bool, said: list[str]
) -> None:
    assert messages("MEM054", a(ProcessLimits, address_space_bytes=limit), gpu=gpu) == said


@pytest.mark.parametrize(("free", "found"), [(GIB, 0), (GIB - 4096, 1)])
def test_mem055_wants_room_in_shared_memory(a: Any, messages: Any, free: int, found: int) -> None:
    said = messages("MEM055", a(SharedMemory, total_bytes=64 * GIB, free_bytes=free))
    assert said == ["1024 MiB of 64.0 GiB are free in /dev/shm; 2 GPUs may need 1.0 GiB"][:found]


def test_mem055_leaves_a_small_one_to_mem006(a: Any, run_check: Any) -> None:
    assert run_check("MEM055", a(SharedMemory, total_bytes=GIB - 1, free_bytes=0)).outcome == "skipped"


@pytest.mark.parametrize(("limit", "found"), [(160 * GIB, 0), (160 * GIB - 1, 1)])
def test_mem056_wants_as_much_memory_as_the_gpus_have(a: Any, messages: Any, limit: int, found: int) -> None:
    said = messages("MEM056", a(Memory, limit_bytes=limit))
    assert said == ["160.0 GiB of main memory for 160.0 GiB of GPU memory"][:found]


def test_mem056_does_not_judge_unified_memory(a: Any, run_check: Any) -> None:
    assert run_check("MEM056", a(Gpus, gpus=(a(Gpu, memory_bytes=None),))).outcome == "skipped"


@pytest.mark.parametrize(("times", "found"), [(0, 0), (7, 1), (None, 0)])
def test_mem057_counts_times_above_the_soft_limit(a: Any, messages: Any, times: int | None, found: int) -> None:
    said = messages("MEM057", a(ControlGroup, memory_high_bytes=4 * GIB, times_above_high=times))
    assert (
        said == ["the control group went above its soft limit of 4.0 GiB 7 times and was slowed down each time"][:found]
    )


def test_mem057_has_nothing_to_say_without_a_soft_limit(a: Any, run_check: Any) -> None:
    assert run_check("MEM057", a(ControlGroup, memory_high_bytes=None, times_above_high=9)).outcome == "skipped"


@pytest.mark.parametrize(("total", "found"), [(250 * GIB, 0), (250 * GIB - 1, 1)])
def test_mem058_wants_the_expected_memory(a: Any, messages: Any, total: int, found: int) -> None:
    said = messages("MEM058", a(Memory, total_bytes=total), a(Spec, expect=Expect(memory_gib=250)))
    assert said == ["250.0 GiB of main memory; provision.toml expects 250 GiB"][:found]


@pytest.mark.parametrize(("limit", "found"), [(65530, 0), (65529, 1)])
def test_frg050_wants_the_default_number_of_mappings(a: Any, messages: Any, limit: int, found: int) -> None:
    said = messages("FRG050", a(MemorySettings, map_limit=limit))
    assert said == ["a process may hold 65529 mappings; the kernel's default is 65530"][:found]


@pytest.mark.parametrize(
    ("mode", "committed", "found"), [(2, 92 * GIB, 0), (2, 92 * GIB + 1, 1), (2, 200 * GIB, 1), (0, 200 * GIB, 0)]
)
def test_frg051_wants_room_to_promise(a: Any, run_check: Any, mode: int, committed: int, found: int) -> None:
    settings = a(MemorySettings, overcommit=mode, commit_limit_bytes=100 * GIB, committed_bytes=committed)
    result = run_check("FRG051", settings, a(GpuMemory, limit_bytes=8 * GIB))
    assert result.outcome == ("skipped" if mode != 2 else "found" if found else "ok")
    said = "0 KiB" if committed > 100 * GIB else "8.0 GiB"
    assert [f.message for f in result.findings] == [
        f"the kernel will promise {said} more; the container may take 8.0 GiB"
    ][:found]


@pytest.mark.parametrize(("lacking", "found"), [((), 0), (("/opt/libjemalloc.so",), 1)])
def test_frg052_wants_what_is_preloaded_to_be_there(
    a: Any, messages: Any, lacking: tuple[str, ...], found: int
) -> None:
    said = messages("FRG052", a(Preloaded, lacking=lacking))
    assert said == ["LD_PRELOAD names /opt/libjemalloc.so, which is not there"][:found]
