"""MON020-041: both sides of every threshold, on two healthy GPUs with one thing changed."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from provision.catalog import tables
from provision.fact import Absent, Missing
from provision.facts.gpu_links import GpuLinks, LinkedGpu, NvLink
from provision.facts.gpu_state import GpuError, GpuErrors
from provision.facts.kernel_events import KINDS, KernelEvent
from provision.facts.log import KernelLog
from provision.facts.pci import NvidiaCards, PciCard
from provision.facts.pci_paths import CardPath, PciPaths


def errors(a: Any, **changes: Any) -> GpuErrors:
    return a(GpuErrors, gpus=(a(GpuError, **changes),))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("code", "change", "said"),
    [
        ("MON020", {"uncorrected_since_load": 0, "uncorrected_ever": 7}, []),
        ("MON020", {"uncorrected_since_load": 1, "uncorrected_ever": 7},
         ["GPU 0: 1 uncorrected memory error since the driver was loaded, 7 in the card's life"]),
        ("MON020", {"uncorrected_since_load": 2, "uncorrected_ever": None},
         ["GPU 0: 2 uncorrected memory errors since the driver was loaded"]),
        ("MON021", {"row_remap_failed": True},
         ["GPU 0 failed to remap a bad row of its memory; NVIDIA's advice is to replace the card"]),
        ("MON022", {"row_remap_pending": True}, ["GPU 0 replaces a bad row of its memory at the next reset"]),
        ("MON023", {"retired_pending": True}, ["GPU 0 has pages to retire at the next start of the driver"]),
        ("MON024", {"retired_pages": 62}, []),
        ("MON024", {"retired_pages": 63}, ["GPU 0 has retired 63 pages of its memory; the limit is 63"]),
        ("MON025", {"ecc": False, "ecc_pending": False}, ["ECC is off on GPU 0"]),
        ("MON025", {"ecc": False, "ecc_pending": True}, ["ECC is off on GPU 0 and will be on after the next reboot"]),
        ("MON026", {"ecc": True, "ecc_pending": False}, ["ECC is on and will be off on GPU 0 after the next reboot"]),
        ("MON026", {"ecc": False, "ecc_pending": False}, []),
        ("MON027", {"banks_without_spare_rows": 1}, ["GPU 0: 1 bank of its memory without a spare row"]),
        ("MON028", {"remapped_uncorrected": 511}, []),
        ("MON028", {"remapped_uncorrected": 512}, ["GPU 0 has remapped 512 rows; the limit is 512"]),
        ("MON029", {"sram_threshold_exceeded": True}, ["GPU 0: the driver says its SRAM errors are over the threshold"]),
        ("MON039", {"inforom_valid": False}, ["the infoROM of GPU 0 is damaged"]),
    ],
)  # fmt: skip
def test_mon020_to_mon029_and_mon039_say_what_the_driver_counts(
    a: Any, messages: Any, code: str, change: dict[str, Any], said: list[str]
) -> None:
    assert messages(code, errors(a, **change)) == said
    assert messages(code) == []


FIELDS = (
    ("MON020", "uncorrected_since_load"),
    ("MON021", "row_remap_failed"),
    ("MON022", "row_remap_pending"),
    ("MON023", "retired_pending"),
    ("MON024", "retired_pages"),
    ("MON025", "ecc"),
    ("MON026", "ecc_pending"),
    ("MON027", "banks_without_spare_rows"),
    ("MON028", "remapped_uncorrected"),
    ("MON029", "sram_threshold_exceeded"),
    ("MON039", "inforom_valid"),
)


@pytest.mark.parametrize(("code", "field"), FIELDS)
def test_silence_is_not_taken_for_health(a: Any, run_check: Any, code: str, field: str) -> None:
    assert run_check(code, errors(a, **{field: None})).outcome == "skipped"
    lost = errors(a, **{field: None}, unread=((field, "the GPU fell off the bus"),))
    assert (run_check(code, lost).outcome, run_check(code, lost).reason) == (
        "unknown",
        f"GPU 0, {field}: the GPU fell off the bus",
    )


def test_mon022_finds_on_one_gpu_and_says_what_another_does_not_tell(a: Any, run_check: Any) -> None:
    silent = a(GpuError, index=1, row_remap_pending=None, unread=(("row_remap_pending", "permission denied"),))
    result = run_check("MON022", a(GpuErrors, gpus=(silent, a(GpuError, row_remap_pending=True))))
    assert [finding.measured["index"] for finding in result.findings] == [0]
    assert (result.outcome, result.reason) == ("found", "GPU 1, row_remap_pending: permission denied")


def path(a: Any, **changes: Any) -> PciPaths:
    return a(PciPaths, cards=(a(CardPath, **changes),))  # type: ignore[no-any-return]


def event(a: Any, kind: str, **changes: Any) -> KernelLog:
    return a(KernelLog, events=(a(KernelEvent, kind=kind, **changes),))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("nonfatal", "fatal", "said"),
    [(0, 0, 0), (1, 0, 1), (0, 2, 2), (None, None, None)],
)
def test_mon030_counts_what_was_lost(
    a: Any, run_check: Any, nonfatal: int | None, fatal: int | None, said: int | None
) -> None:
    result = run_check("MON030", path(a, aer_nonfatal=nonfatal, aer_fatal=fatal))
    if said is None:
        assert result.outcome == "skipped"
        return
    plural = "s" if said != 1 else ""
    assert [f.message for f in result.findings] == [
        f"0000:01:00.0: {said} uncorrected PCIe error{plural} since this machine started"
    ] * (said > 0)


def test_mon030_takes_the_logs_word_where_nothing_is_counted(a: Any, messages: Any) -> None:
    silent = path(a, aer_nonfatal=None, aer_fatal=None)
    assert messages("MON030", silent, event(a, "pcie-uncorrected", times=3)) == [
        "0000:01:00.0: 3 uncorrected PCIe errors since this machine started"
    ]


ALLOWED = 16 * 192 * 1440 // 100  # sixteen lanes of generation 5 for a day


@pytest.mark.parametrize(
    ("corrected", "uptime", "outcome"),
    [
        (ALLOWED, 86_400.0, "ok"),
        (ALLOWED + 1, 86_400.0, "found"),
        (10**9, 599.0, "skipped"),
        (None, 86_400.0, "skipped"),
    ],
)
def test_mon031_compares_the_rate_with_a_healthy_links(
    a: Any, run_check: Any, corrected: int | None, uptime: float, outcome: str
) -> None:
    paths = dataclasses.replace(path(a, aer_corrected=corrected), uptime_seconds=uptime)
    result = run_check("MON031", paths, a(NvidiaCards, cards=(a(PciCard),)))
    assert result.outcome == outcome
    if outcome == "found":
        assert result.findings[0].message == (
            f"0000:01:00.0: {ALLOWED + 1} corrected PCIe errors in 24.0 h; 16 lanes of generation 5 may have 44237"
        )


def test_the_rates_of_generations_double_but_once() -> None:
    assert [row.per_lane_hundred_minutes for row in tables.pcie()] == [15, 30, 48, 96, 192, 384]
    assert [row.mts for row in tables.pcie()] == [2500, 5000, 8000, 16000, 32000, 64000]


@pytest.mark.parametrize(
    ("device", "state"), [("0000:01:00.0", "still listed on the bus"), ("0000:09:00.0", "not on the bus now")]
)
def test_mon032_says_whether_the_card_is_back(a: Any, messages: Any, device: str, state: str) -> None:
    said = messages("MON032", event(a, "gpu-off-the-bus", device=device, times=2))
    assert said == [f"{device} fell off the bus, 2 times since this machine started; {state}"]
    assert messages("MON032") == []
    gone = {NvidiaCards: Absent("no NVIDIA card on the PCI bus")}
    assert messages("MON032", event(a, "gpu-off-the-bus", device=device), gone)[0].endswith("not on the bus now")


LOGGED = (
    ("MON033", "memory-uncorrected", "MC0", "MC0"),
    ("MON034", "memory-corrected", "MC1", "MC1"),
    ("MON034", "machine-check", None, "main memory"),
    ("MON035", "disk-timeout", "nvme1", "nvme1"),
    ("MON035", "disk-error", "nvme1n1", "nvme1n1"),
    ("MON035", "raid-member-failed", "sdb1", "sdb1"),
    ("MON035", "filesystem-error", None, "a file system"),
    ("MON036", "cpu-stuck", None, "the kernel"),
    ("MON036", "task-hung", "nvidia-smi", "nvidia-smi"),
    ("MON036", "kernel-oops", None, "the kernel"),
    ("MON037", "nvswitch-fatal", "0000:07:00.0", "NVSwitch 0000:07:00.0"),
    ("MON038", "nvswitch-error", "0000:07:00.0", "NVSwitch 0000:07:00.0"),
    ("MON041", "library-segfault", "libnccl.so.2", "libnccl.so.2"),
)


@pytest.mark.parametrize(("code", "kind", "device", "named"), LOGGED)
def test_mon033_to_mon038_and_mon041_pass_on_what_the_kernel_wrote(
    a: Any, messages: Any, code: str, kind: str, device: str | None, named: str
) -> None:
    said = messages(code, event(a, kind, device=device, times=4, text="the line"))
    assert said == [f"{named}, 4 times since this machine started: the line"]
    assert messages(code) == []
    others = [other for other, _ in KINDS if not any((code, other) == row[:2] for row in LOGGED)]
    assert [messages(code, event(a, other)) for other in others] == [[]] * len(others)


def test_mon038_is_no_word_for_a_fatal_error(a: Any, messages: Any) -> None:
    assert messages("MON038", event(a, "nvswitch-fatal")) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, []),
        ({"replay_errors": 12}, ["GPU 0: 12 errors on NVLink 0"]),
        ({"recovery_errors": 1}, ["GPU 0: 1 error on NVLink 0"]),
        ({"crc_errors": 2, "replay_errors": 1}, ["GPU 0: 3 errors on NVLink 0"]),
    ],
)
def test_mon040_wants_no_errors(a: Any, messages: Any, change: dict[str, int], said: list[str]) -> None:
    gpu = a(LinkedGpu, nvlinks=(a(NvLink, **change),))
    assert messages("MON040", a(GpuLinks, gpus=(gpu,), pairs=())) == said


def test_mon040_without_counters_is_not_ok(a: Any, run_check: Any) -> None:
    silent = a(NvLink, replay_errors=None, recovery_errors=None, crc_errors=None)
    gpu = a(LinkedGpu, nvlinks=(silent,))
    assert run_check("MON040", a(GpuLinks, gpus=(gpu,))).outcome == "skipped"
    closed = dataclasses.replace(gpu, unread=(("link_errors", "permission denied by the NVIDIA driver"),))
    assert run_check("MON040", a(GpuLinks, gpus=(closed,))).outcome == "unknown"
    assert run_check("MON040", {GpuLinks: Missing("no answer")}).outcome == "unknown"


@pytest.mark.parametrize(("device", "found"), [("loop0", 0), ("sda1", 1)])
def test_mon035_leaves_out_files_that_serve_as_disks(a: Any, messages: Any, device: str, found: int) -> None:
    assert len(messages("MON035", event(a, "filesystem-error", device=device))) == found
