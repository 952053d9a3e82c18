"""MEM: both sides of every threshold."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from provision.facts.gpus import Gpu, Gpus
from provision.facts.limits import Limits, SharedMemory
from provision.facts.log import KernelLog, OomKill
from provision.facts.memory import Memory
from provision.facts.pci import NvidiaCards, PciCard
from provision.plan import GpuMemory

GIB = 1 << 30
NEED = 5 * GIB  # 4 GiB of weights and the plan's tolerance of a quarter


@pytest.mark.parametrize(("limit", "found"), [(8 * GIB, 0), (8 * GIB - 1, 1)])
def test_mem001_needs_the_containers_limit(a: Any, messages: Any, limit: int, found: int) -> None:
    assert len(messages("MEM001", a(Memory, limit_bytes=limit))) == found


def test_mem001_says_whose_limit_it_is(a: Any, messages: Any) -> None:
    group = a(Memory, limit_bytes=2 * GIB, cgroup_limit_bytes=2 * GIB)
    assert messages("MEM001", group) == ["the control group allows 2.0 GiB of memory; the container needs 8.0 GiB"]
    small = a(Memory, limit_bytes=2 * GIB, total_bytes=2 * GIB)
    assert messages("MEM001", small) == ["the machine has 2.0 GiB of memory; the container needs 8.0 GiB"]


@pytest.mark.parametrize(("available", "found"), [(8 * GIB, 0), (8 * GIB - 1, 1)])
def test_mem002_needs_memory_that_nobody_holds(a: Any, messages: Any, available: int, found: int) -> None:
    assert len(messages("MEM002", a(Memory, available_bytes=available))) == found


def test_mem002_leaves_a_limit_that_is_too_low_to_mem001(a: Any, run_check: Any) -> None:
    assert run_check("MEM002", a(Memory, limit_bytes=1, available_bytes=1)).outcome == "skipped"


def gpus(a: Any, **overrides: Any) -> Gpus:
    """Two GPUs, the first one smaller."""
    changed = a(Gpu, **overrides)
    return dataclasses.replace(
        a(Gpus), gpus=(a(Gpu, memory_bytes=1 << 20, memory_free_bytes=0, process_count=0), changed)
    )


@pytest.mark.parametrize(("total", "found"), [(NEED, 0), (NEED - 1, 1)])
def test_mem003_needs_one_gpu_with_room_for_the_weights(a: Any, messages: Any, total: int, found: int) -> None:
    assert len(messages("MEM003", gpus(a, memory_bytes=total))) == found


def test_mem003_says_what_the_weights_need(a: Any, messages: Any) -> None:
    said = messages("MEM003", gpus(a, name="NVIDIA T400", memory_bytes=4 * GIB))
    assert said == ["the largest GPU, NVIDIA T400, has 4.0 GiB; the weights need 5.0 GiB"]


def test_mem003_does_not_judge_unified_memory(a: Any, run_check: Any) -> None:
    unified = dataclasses.replace(a(Gpus), gpus=(a(Gpu, memory_bytes=None, memory_free_bytes=None),))
    assert run_check("MEM003", unified).outcome == "skipped"


@pytest.mark.parametrize(("free", "found"), [(NEED, 0), (NEED - 1, 1)])
def test_mem004_needs_one_gpu_that_nobody_fills(a: Any, messages: Any, free: int, found: int) -> None:
    assert len(messages("MEM004", gpus(a, memory_free_bytes=free))) == found


def test_mem004_says_how_many_hold_it(a: Any, messages: Any) -> None:
    (said,) = messages("MEM004", gpus(a, memory_free_bytes=GIB, process_count=2))
    assert said == (
        "at most 1.0 GiB are free on one GPU (GPU 0, NVIDIA H100 80GB HBM3); the weights need 5.0 GiB, "
        "and 2 processes hold memory there"
    )


def test_mem004_leaves_a_gpu_that_is_too_small_to_mem003(a: Any, run_check: Any) -> None:
    assert run_check("MEM004", gpus(a, memory_bytes=NEED - 1)).outcome == "skipped"


def test_mem005_counts_what_the_kernel_killed(a: Any, messages: Any) -> None:
    kills = (a(OomKill, process="vllm", cgroup=True), a(OomKill, cgroup=False))
    assert messages("MEM005", a(KernelLog, oom_kills=kills)) == [
        "the kernel killed 2 processes since this machine started; the last was python3 (812), which held 3.0 GiB, "
        "for want of memory on the whole machine"
    ]
    assert "for the limit of its control group" in messages("MEM005", a(KernelLog, oom_kills=kills[:1]))[0]
    assert messages("MEM005", a(KernelLog, oom_kills=())) == []


@pytest.mark.parametrize(("total", "found"), [(GIB, 0), (GIB - 1, 1)])
def test_mem006_needs_shared_memory_for_several_gpus(a: Any, messages: Any, total: int, found: int) -> None:
    assert len(messages("MEM006", a(SharedMemory, total_bytes=total))) == found


@pytest.mark.parametrize("code", ["MEM006", "MEM007"])
def test_mem006_and_mem007_do_not_judge_a_single_gpu(a: Any, run_check: Any, code: str) -> None:
    bad = (a(SharedMemory, total_bytes=1), a(Limits, memlock_hard_bytes=1))
    assert run_check(code, *bad).outcome == "found"
    assert run_check(code, *bad, a(NvidiaCards, cards=(a(PciCard),))).outcome == "skipped"


@pytest.mark.parametrize(("hard", "found"), [(None, 0), (1 << 40, 1)])
def test_mem007_wants_no_limit_on_locked_memory(a: Any, messages: Any, hard: int | None, found: int) -> None:
    assert len(messages("MEM007", a(Limits, memlock_hard_bytes=hard))) == found


def test_mem001_names_the_group_to_raise(a: Any, run_check: Any) -> None:
    grouped = run_check("MEM001", a(Memory, limit_bytes=GIB, cgroup_limit_bytes=GIB)).findings[0]
    whole = run_check("MEM001", a(Memory, limit_bytes=GIB, total_bytes=GIB, cgroup_limit_bytes=GIB)).findings[0]
    assert grouped.fix != ()
    assert whole.fix == ()
    assert whole.message.startswith("the machine has")


def test_mem002_judges_a_limit_that_is_just_enough(a: Any, messages: Any) -> None:
    assert len(messages("MEM002", a(Memory, limit_bytes=8 * GIB, available_bytes=GIB))) == 1


@pytest.mark.parametrize("code", ["MEM003", "MEM004"])
def test_mem003_and_mem004_do_not_judge_a_plan_for_the_cpu(a: Any, run_check: Any, code: str) -> None:
    tiny = dataclasses.replace(a(Gpus), gpus=(a(Gpu, memory_bytes=1, memory_free_bytes=1),))
    assert run_check(code, tiny, a(GpuMemory, device="cpu")).reason == "the plan runs on the CPU"


def test_mem005_says_only_what_the_log_says(a: Any, messages: Any) -> None:
    (said,) = messages("MEM005", a(KernelLog, oom_kills=(a(OomKill, resident_bytes=None),)))
    assert "the last was python3 (812), for want" in said
