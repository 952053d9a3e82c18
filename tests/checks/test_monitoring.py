"""MON: both sides of every threshold."""

from __future__ import annotations

from typing import Any

import pytest

from provision.catalog import tables
from provision.fact import Missing
from provision.facts.log import KernelLog, Xid
from provision.facts.units import Unit, Units


@pytest.mark.parametrize(
    ("xid", "hardware", "program"),
    [(79, 1, 0), (48, 1, 0), (95, 1, 0), (13, 0, 1), (31, 0, 1), (94, 0, 1), (63, 0, 0), (999, 0, 1)],
)
def test_mon001_and_mon002_tell_the_card_from_the_program(
    a: Any, messages: Any, xid: int, hardware: int, program: int
) -> None:
    log = a(KernelLog, xids=(a(Xid, code=xid),))
    assert (len(messages("MON001", log)), len(messages("MON002", log))) == (hardware, program)


def test_mon001_counts_by_code_and_card(a: Any, run_check: Any) -> None:
    log = a(KernelLog, xids=(a(Xid), a(Xid), a(Xid, pci_address="0000:02:00")))
    first, second = run_check("MON001", log).findings
    assert first.message == (
        "Xid 79 on 0000:01:00, 2 times since this machine started: the GPU fell off the PCIe bus; power the machine off and "
        "on; check power, cooling and seating; if it comes back, have the card replaced"
    )
    assert first.measured["vendor_action"] == "RESTART_BM"
    assert "0000:02:00, 1 time " in second.message


def test_mon002_points_to_the_vendors_page_for_an_unlisted_code(a: Any, messages: Any) -> None:
    (said,) = messages("MON002", a(KernelLog, xids=(a(Xid, code=999),)))
    assert said.endswith("not in the table; see https://docs.nvidia.com/deploy/xid-errors/")


def test_xid_rows_say_what_happened_and_what_to_do() -> None:
    assert len(tables.xids()) > 40
    assert all(row.meaning and row.action and row.source and row.date for row in tables.xids().values())


def test_mon003_says_that_it_cannot_see(messages: Any) -> None:
    assert messages("MON003", {KernelLog: Missing("dmesg: operation not permitted")}) == [
        "the kernel log cannot be read: dmesg: operation not permitted"
    ]
    assert messages("MON003") == []


@pytest.mark.parametrize(("state", "found"), [("active", 0), ("inactive", 0), ("activating", 0), ("failed", 1)])
def test_mon004_sees_a_failed_service(a: Any, messages: Any, state: str, found: int) -> None:
    assert len(messages("MON004", a(Units, units=(a(Unit, state=state),)))) == found


def test_mon001_keeps_the_name_and_the_last_message(a: Any, run_check: Any) -> None:
    log = a(KernelLog, xids=(a(Xid, text="first"), a(Xid, text="last"), a(Xid, code=48, text="another")))
    another, finding = run_check("MON001", log).findings
    assert (another.measured["xid"], finding.measured["last"]) == (48, "last")
    assert finding.measured["name"] == "ROBUST_CHANNEL_GPU_HAS_FALLEN_OFF_THE_BUS"


def test_mon002_names_the_program_where_the_driver_does(a: Any, run_check: Any) -> None:
    log = a(KernelLog, xids=(a(Xid, code=31, process="VLLM::Worker_TP", pid=88129), a(Xid, code=13)))
    unnamed, named = run_check("MON002", log).findings
    assert ("process" in unnamed.measured, named.measured["process"]) == (False, "VLLM::Worker_TP")
