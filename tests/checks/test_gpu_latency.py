"""LAT020-038: both sides of every threshold, on two healthy GPUs with one thing changed."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from provision.fact import Missing
from provision.facts.driver import NvidiaDriver
from provision.facts.gpu_links import GpuLinks, GpuPair, LinkedGpu, NvLink
from provision.facts.gpu_nodes import GpuModules
from provision.facts.gpu_state import GpuClock, GpuClocks, GpuMode, GpuModes
from provision.facts.gpus import Gpu, Gpus
from provision.facts.kernel_events import KernelEvent
from provision.facts.log import KernelLog
from provision.facts.pci import NvidiaCards, PciCard
from provision.facts.pci_paths import Bridge, PciPaths
from provision.facts.system import System
from provision.spec import Expect, Spec


def clocks(a: Any, **changes: Any) -> GpuClocks:
    return a(GpuClocks, gpus=(a(GpuClock, **changes),))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("reasons", "heat", "brake", "setting"),
    [
        ((), 0, 0, 0),
        (("idle",), 0, 0, 0),
        (("software power cap",), 0, 0, 0),
        (("software thermal slowdown",), 1, 0, 0),
        (("hardware slowdown", "hardware thermal slowdown"), 1, 0, 0),
        (("hardware slowdown",), 1, 0, 0),
        (("hardware slowdown", "hardware power brake"), 0, 1, 0),
        (("applications clocks setting",), 0, 0, 1),
    ],
)
def test_lat020_lat021_and_lat023_tell_the_reasons_apart(
    a: Any, messages: Any, reasons: tuple[str, ...], heat: int, brake: int, setting: int
) -> None:
    fact = clocks(a, reasons=reasons, celsius=90)
    assert len(messages("LAT020", fact)) == heat
    assert messages("LAT021", fact) == ["GPU 0 runs at 345 of 1980 MHz: the board's power brake is on"] * brake
    assert messages("LAT023", fact) == ["GPU 0 is held at 345 of 1980 MHz by a clock setting"] * setting


def test_lat020_says_how_hot(a: Any, messages: Any, run_check: Any) -> None:
    fact = clocks(a, reasons=("hardware slowdown", "hardware thermal slowdown"), celsius=90)
    assert messages("LAT020", fact) == [
        "GPU 0 runs at 345 of 1980 MHz for hardware thermal slowdown, at 90 °C (it slows down from 89 °C on)"
    ]
    assert run_check("LAT020", clocks(a, reasons=None)).outcome == "skipped"


def test_lat021_that_cannot_be_read_is_unknown(a: Any, run_check: Any) -> None:
    fact = clocks(a, reasons=None, unread=(("reasons", "the GPU is in a state that allows no answer"),))
    assert run_check("LAT021", fact).outcome == "unknown"


@pytest.mark.parametrize(("limit", "found"), [(700_000, 0), (699_999, 1), (750_000, 0)])
def test_lat022_compares_with_the_cards_own_limit(a: Any, messages: Any, limit: int, found: int) -> None:
    assert len(messages("LAT022", clocks(a, power_limit_mw=limit))) == found
    assert messages("LAT022", clocks(a, power_limit_mw=350_000)) == [
        "GPU 0 may draw 350 W; the card's own limit is 700 W"
    ]


def test_lat023_wants_no_setting(a: Any, messages: Any) -> None:
    assert messages("LAT023", clocks(a, reasons=("idle",))) == []


@pytest.mark.parametrize(
    ("core", "memory", "said"),
    [
        (86, 94, []),
        (87, 94, ["GPU 0: the GPU is at 87 °C; the limit is 87 °C"]),
        (86, 95, ["GPU 0: its memory is at 95 °C; the limit is 95 °C"]),
        (86, None, []),
    ],
)
def test_lat024_compares_with_both_limits(
    a: Any, messages: Any, core: int, memory: int | None, said: list[str]
) -> None:
    assert messages("LAT024", clocks(a, celsius=core, memory_celsius=memory)) == said


@pytest.mark.parametrize(("slot", "found"), [(16, 0), (8, 1), (None, None)])
def test_lat025_compares_slot_and_card(a: Any, run_check: Any, slot: int | None, found: int | None) -> None:
    paths = a(PciPaths, bridges=(a(Bridge, link_width_max=slot),))
    result = run_check("LAT025", paths)
    if found is None:
        assert result.outcome == "skipped"
    else:
        assert [f.message for f in result.findings] == ["0000:01:00.0 has 16 PCIe lanes, its slot 8"] * found


@pytest.mark.parametrize(("slot", "found"), [(32000, 0), (64000, 0), (16000, 1)])
def test_lat026_compares_generations(a: Any, messages: Any, slot: int, found: int) -> None:
    paths = a(PciPaths, bridges=(a(Bridge, link_mts_max=slot),))
    assert messages("LAT026", paths) == ["0000:01:00.0 is made for 32 GT/s a lane, its slot for 16"] * found


def test_lat026_of_a_virtual_machine_is_skipped(a: Any, run_check: Any) -> None:
    assert run_check("LAT026", a(PciPaths, bridges=())).outcome == "skipped"


@pytest.mark.parametrize(("width", "outcome"), [(16, "ok"), (8, "found"), (None, "unknown")])
def test_lat027_wants_the_expected_lanes(a: Any, run_check: Any, width: int | None, outcome: str) -> None:
    result = run_check(
        "LAT027", a(NvidiaCards, cards=(a(PciCard, link_width=width),)), a(Spec, expect=Expect(link_width=16))
    )
    assert result.outcome == outcome
    assert run_check("LAT027").outcome == "skipped"
    if outcome == "found":
        assert result.findings[0].message == "0000:01:00.0 runs on 8 PCIe lanes; provision.toml expects 16"


def paths(a: Any, *changes: dict[str, Any]) -> PciPaths:
    fact = a(PciPaths)
    cards = tuple(dataclasses.replace(card, **one) for card, one in zip(fact.cards, changes, strict=True))
    return dataclasses.replace(fact, cards=cards)  # type: ignore[no-any-return]


def joined(a: Any) -> GpuLinks:
    return a(GpuLinks, gpus=tuple(a(LinkedGpu, index=n, nvlinks=(a(NvLink),)) for n in (0, 1)))  # type: ignore[no-any-return]


def test_lat028_sees_two_processors(a: Any, messages: Any, run_check: Any) -> None:
    apart = paths(a, {"numa_node": 0}, {"numa_node": 1})
    assert messages("LAT028", apart) == ["1 GPU on NUMA node 0 and 1 GPU on NUMA node 1"]
    assert messages("LAT028") == []
    assert run_check("LAT028", apart, joined(a)).outcome == "skipped"
    assert run_check("LAT028", paths(a, {"numa_node": None}, {"numa_node": None})).outcome == "skipped"


def linked(a: Any, *up: tuple[bool, ...], **changes: Any) -> GpuLinks:
    gpus = tuple(
        a(LinkedGpu, index=n, nvlinks=tuple(a(NvLink, link=i, active=on, **changes) for i, on in enumerate(one)))
        for n, one in enumerate(up)
    )
    return a(GpuLinks, gpus=gpus)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("up", "said"),
    [
        ((True, True, True), []),
        ((False, False, False), []),
        ((True, False, False), ["2 of 3 NVLinks of GPU 0 are down (link 1 and 2)"]),
    ],
)
def test_lat029_wants_all_or_no_links(a: Any, messages: Any, up: tuple[bool, ...], said: list[str]) -> None:
    assert messages("LAT029", linked(a, up)) == said


def test_lat029_without_nvlink_is_skipped(run_check: Any) -> None:
    assert run_check("LAT029").outcome == "skipped"


def test_lat030_compares_gpus_of_one_model(a: Any, messages: Any, run_check: Any) -> None:
    assert messages("LAT030", linked(a, (True, True), (True, False))) == [
        "NVIDIA H100 80GB HBM3: GPU 1 has 1 of 2 NVLinks up"
    ]
    assert messages("LAT030", linked(a, (True, True), (True, True))) == []
    two = a(Gpus, gpus=(a(Gpu), a(Gpu, index=1, name="NVIDIA H200")))
    assert run_check("LAT030", two, linked(a, (True, True), (True, False))).outcome == "skipped"


def test_lat031_finds_pairs_without_a_bridge(a: Any, messages: Any, run_check: Any) -> None:
    addresses = [f"0000:0{n + 1}:00.0" for n in range(4)]
    gpus = a(Gpus, gpus=tuple(a(Gpu, index=n, pci_address=address) for n, address in enumerate(addresses)))
    ends = [(1,), (0,), (3,), (2,)]
    bridged = tuple(
        a(LinkedGpu, index=n, nvlinks=tuple(a(NvLink, remote="gpu", remote_address=addresses[e]) for e in others))
        for n, others in enumerate(ends)
    )
    pairs = tuple(a(GpuPair, first=i, second=j) for i in range(4) for j in range(i + 1, 4))
    assert messages("LAT031", gpus, a(GpuLinks, gpus=bridged, pairs=pairs)) == [
        "no NVLink joins GPU 0 and GPU 2, GPU 0 and GPU 3 and GPU 1 and GPU 2, nor 1 further pairs"
    ]
    assert messages("LAT031", gpus, a(GpuLinks, gpus=bridged, pairs=(pairs[0], pairs[5]))) == []
    assert run_check("LAT031", joined(a)).outcome == "skipped"


@pytest.mark.parametrize(
    ("status", "name", "outcome"),
    [
        ("ok", "NVIDIA H100 PCIe", "ok"),
        ("chipset not supported", "NVIDIA H100 PCIe", "found"),
        ("not supported", "NVIDIA GeForce RTX 4090", "skipped"),
        ("not supported", "NVIDIA GeForce RTX 3090", "found"),
        (None, "NVIDIA H100 PCIe", "skipped"),
    ],
)
def test_lat032_wants_direct_access(a: Any, run_check: Any, status: str | None, name: str, outcome: str) -> None:
    links = a(GpuLinks, pairs=(a(GpuPair, peer_to_peer=status),))
    result = run_check("LAT032", links, a(Gpus, gpus=tuple(a(Gpu, index=n, name=name) for n in (0, 1))))
    assert result.outcome == outcome
    if outcome == "found":
        assert result.findings[0].message == f"1 pair of GPUs without direct access, as GPU 0 and GPU 1: {status}"


def test_lat032_that_cannot_be_read_is_unknown(a: Any, run_check: Any) -> None:
    pair = a(GpuPair, peer_to_peer=None, unread=(("peer_to_peer", "permission denied"),))
    assert run_check("LAT032", a(GpuLinks, pairs=(pair,))).outcome == "unknown"


def controls(a: Any, *acs: Any) -> PciPaths:
    fact = a(PciPaths)
    bridges = tuple(dataclasses.replace(bridge, acs=one) for bridge, one in zip(fact.bridges, acs, strict=True))
    return dataclasses.replace(fact, bridges=bridges)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("acs", "outcome"),
    [
        (((), ()), "ok"),
        ((("source validation",), ()), "ok"),
        ((("source validation", "request redirect"), ()), "found"),
        ((("completion redirect",), None), "found"),
        (((), None), "unknown"),
    ],
)
def test_lat033_wants_no_redirection(a: Any, run_check: Any, acs: Any, outcome: str) -> None:
    result = run_check("LAT033", controls(a, *acs))
    assert result.outcome == outcome
    if outcome == "found":
        assert result.findings[0].message == "1 bridge above the GPUs redirects their traffic: 0000:00:01.1"
    assert run_check("LAT033", controls(a, *acs), a(System, virtualization="kvm")).outcome == "skipped"
    assert run_check("LAT033", controls(a, *acs), joined(a)).outcome == "skipped"


@pytest.mark.parametrize(
    ("kind", "group", "outcome"),
    [
        ("identity", "14", "ok"),
        ("DMA", "14", "found"),
        ("DMA-FQ", "14", "found"),
        (None, None, "ok"),
        (None, "14", "unknown"),
    ],
)
def test_lat034_wants_the_iommu_passed_through(
    a: Any, run_check: Any, kind: str | None, group: str | None, outcome: str
) -> None:
    fact = paths(a, {"iommu_type": kind, "iommu_group": group}, {})
    result = run_check("LAT034", fact)
    assert result.outcome == outcome
    if outcome == "found":
        assert result.findings[0].message == f"the IOMMU translates for 1 GPU ({kind}): 0000:01:00.0"
    assert run_check("LAT034", fact, a(System, virtualization="kvm")).outcome == "skipped"


@pytest.mark.parametrize(
    ("devices", "loaded", "flavour", "outcome"),
    [
        ((), (), "proprietary", "skipped"),
        (("mlx5_0",), (), "open", "skipped"),
        (("mlx5_0",), (), "proprietary", "found"),
        (("mlx5_0",), ("nvidia_peermem",), "proprietary", "ok"),
        (("mlx5_0",), ("nv_peer_mem",), "proprietary", "ok"),
    ],
)
def test_lat035_wants_peermem(
    a: Any, run_check: Any, devices: tuple[str, ...], loaded: tuple[str, ...], flavour: Any, outcome: str
) -> None:
    result = run_check("LAT035", a(GpuModules, infiniband=devices, loaded=loaded), a(NvidiaDriver, flavour=flavour))
    assert result.outcome == outcome
    if outcome == "found":
        assert result.findings[0].message == "mlx5_0 and 2 GPUs are here; nvidia-peermem is not loaded"


@pytest.mark.parametrize(("licensed", "outcome"), [(None, "skipped"), (True, "ok"), (False, "found")])
def test_lat036_wants_a_licence(a: Any, run_check: Any, licensed: bool | None, outcome: str) -> None:
    result = run_check("LAT036", a(GpuModes, gpus=(a(GpuMode, licensed=licensed),)))
    assert result.outcome == outcome
    assert [f.message for f in result.findings] == ["GPU 0 is a vGPU without a licence"] * (outcome == "found")


def test_lat037_reads_the_log(a: Any, messages: Any) -> None:
    hot = a(KernelEvent, kind="cpu-hot", device=None, times=12, text="CPU3: Core temperature above threshold")
    assert messages("LAT037", a(KernelLog, events=(hot,))) == [
        "12 times since this machine started: CPU3: Core temperature above threshold"
    ]
    assert messages("LAT037") == []


@pytest.mark.parametrize(("wanted", "outcome"), [(None, "skipped"), (2, "ok"), (3, "found")])
def test_lat038_wants_the_expected_links(a: Any, run_check: Any, wanted: int | None, outcome: str) -> None:
    result = run_check("LAT038", linked(a, (True, True)), a(Spec, expect=Expect(nvlinks=wanted)))
    assert result.outcome == outcome
    if outcome == "found":
        assert result.findings[0].message == "GPU 0 (0000:01:00.0) has 2 NVLinks up; provision.toml expects 3"
    assert run_check("LAT038", {GpuLinks: Missing("no answer")}).outcome == "unknown"
