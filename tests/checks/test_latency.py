"""LAT: both sides of every threshold."""

from __future__ import annotations

from typing import Any

import pytest

from provision.facts.cpu import Cpu
from provision.facts.gpus import Gpu, Gpus
from provision.facts.limits import Limits
from provision.facts.pci import NvidiaCards, PciCard
from provision.plan import Latency


@pytest.mark.parametrize(("flags", "found"), [(("avx2", "fma", "sse"), 0), (("fma", "sse"), 1)])
def test_lat001_needs_the_planned_instructions(a: Any, messages: Any, flags: tuple[str, ...], found: int) -> None:
    assert len(messages("LAT001", a(Cpu, flags=flags))) == found


def test_lat001_names_what_lacks(a: Any, messages: Any) -> None:
    said = messages("LAT001", a(Cpu, model=None, flags=()))
    assert said == ["the processor (no model name) lacks avx2 and fma"]


def test_lat001_does_not_judge_arm_or_a_plan_for_the_gpu(a: Any, run_check: Any) -> None:
    assert run_check("LAT001", a(Cpu, flags=(), microarchitecture=None)).outcome == "skipped"
    assert run_check("LAT001", a(Cpu, flags=()), a(Latency, cpu_flags=())).outcome == "skipped"


@pytest.mark.parametrize(("width", "found"), [(16, 0), (8, 1), (None, 0)])
def test_lat002_wants_every_lane(a: Any, messages: Any, width: int | None, found: int) -> None:
    cards = (a(PciCard, link_width=width), a(PciCard, address="0000:02:00.0"))
    assert len(messages("LAT002", a(NvidiaCards, cards=cards))) == found


def test_lat002_does_not_judge_the_speed_of_an_idle_card(a: Any, messages: Any) -> None:
    assert messages("LAT002", a(NvidiaCards, cards=(a(PciCard, link_mts=2500),))) == []


def test_lat002_says_where_the_bus_says_nothing(a: Any, run_check: Any) -> None:
    result = run_check("LAT002", a(NvidiaCards, cards=(a(PciCard, link_width=None),)))
    assert result.outcome == "skipped"


@pytest.mark.parametrize(("persistence", "found"), [(True, 0), (False, 1)])
def test_lat003_wants_persistence(a: Any, messages: Any, persistence: bool, found: int) -> None:
    gpus = a(Gpus, gpus=(a(Gpu, persistence=persistence), a(Gpu, index=1, persistence=None)))
    assert messages("LAT003", gpus) == ["persistence mode is off on GPU 0"][:found]


@pytest.mark.parametrize(("hard", "found"), [(None, 0), (65535, 0), (65534, 1)])
def test_lat004_wants_open_files(a: Any, messages: Any, hard: int | None, found: int) -> None:
    assert len(messages("LAT004", a(Limits, nofile_hard=hard))) == found


def test_lat003_says_where_no_gpu_has_the_mode(a: Any, run_check: Any) -> None:
    result = run_check("LAT003", a(Gpus, gpus=(a(Gpu, persistence=None),)))
    assert (result.outcome, result.reason) == ("skipped", "no GPU here has persistence mode")
