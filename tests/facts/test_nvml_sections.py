"""The wide sections of NVML through the real binding: counts, codes, and drivers that stop halfway."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from provision import child, facts, host
from provision.fact import Absent, Missing, collect
from provision.facts.nvml_child import ABSENT, MEANINGS
from provision.host import LocalHost

from .scenario import GB10, H100, RTX4090, board, machine

facts.load()
WIDE = ("ConfidentialComputing", "GpuClocks", "GpuErrors", "GpuLinks", "GpuModes")
Stub = Callable[[str], None]


def look(*names: str) -> dict[str, Any]:
    return collect(LocalHost(), "here", "0", names or ("Gpus", *WIDE)).facts


@pytest.mark.parametrize("count", [0, 1, 8, 16])
def test_any_number_of_gpus(nvml_stub: Stub, count: int) -> None:
    nvml_stub(machine(board(count)))
    found = look()
    for name in ("Gpus", "GpuClocks", "GpuErrors", "GpuModes", "GpuLinks"):
        assert [gpu.index for gpu in found[name].gpus] == list(range(count)), name
    pairs = found["GpuLinks"].pairs
    assert len(pairs) == count * (count - 1) // 2
    assert {(p.topology, p.peer_to_peer) for p in pairs} <= {("NUMA node", "ok")}
    assert all(len(gpu.nvlinks) == 18 and gpu.fabric_state == "completed" for gpu in found["GpuLinks"].gpus)


@pytest.mark.parametrize("code", sorted({*MEANINGS, 31} - {13}))
def test_every_return_code_of_the_start_keeps_its_meaning(nvml_stub: Stub, code: int) -> None:
    nvml_stub(machine([], init=f"error {code}"))
    reason = MEANINGS.get(code, f"NVML error {code}")
    assert look("Gpus")["Gpus"] == (Absent if code in ABSENT else Missing)(reason)


@pytest.mark.parametrize("code", sorted(MEANINGS))
def test_every_return_code_of_one_question_keeps_its_meaning(nvml_stub: Stub, code: int) -> None:
    nvml_stub(machine([{**H100, "power": f"error {code}"}]))
    (gpu,) = look("GpuClocks")["GpuClocks"].gpus
    assert (gpu.power_mw, gpu.unread) == (None, (("power_mw", MEANINGS[code]),))
    assert gpu.celsius == 31


def test_what_a_card_does_not_have_is_none_and_no_failure(nvml_stub: Stub) -> None:
    nvml_stub(machine([GB10, RTX4090]))
    found = look()
    small, game = found["GpuErrors"].gpus
    assert (small.ecc, small.row_remap_pending, small.inforom_valid, small.unread) == (None, None, None, ())
    assert (game.ecc, game.inforom_valid, game.unread) == (None, True, ())
    assert [gpu.nvlinks for gpu in found["GpuLinks"].gpus] == [(), ()]


def test_a_damaged_inforom_is_an_answer(nvml_stub: Stub) -> None:
    nvml_stub(machine([{**H100, "inforom_check": "error 14"}, {**H100, "inforom_check": "error 4"}]))
    damaged, closed = look("GpuErrors")["GpuErrors"].gpus
    assert (damaged.inforom_valid, damaged.unread) == (False, ())
    assert (closed.inforom_valid, closed.unread) == (None, (("inforom_valid", MEANINGS[4]),))


def test_mig_devices_with_their_sizes(nvml_stub: Stub) -> None:
    nvml_stub(machine([{**H100, "mig": "1 1", "mig_max": 7, "mig.1": "3 40448", "mig.4": "1 9856"}, H100]))
    first, second = look("GpuModes")["GpuModes"].gpus
    assert [(m.number, m.slices, m.memory_bytes) for m in first.mig_devices] == [
        (1, 3, 40448 << 20),
        (4, 1, 9856 << 20),
    ]
    assert second.mig_devices == ()


def test_processes_of_both_kinds_with_their_memory(nvml_stub: Stub) -> None:
    nvml_stub(machine([{**H100, "compute": "4242 1048576 4343 18446744073709551615", "graphics": "900 2048"}]))
    (gpu,) = look("GpuModes")["GpuModes"].gpus
    assert [(p.pid, p.kind, p.memory_bytes) for p in gpu.processes] == [
        (4242, "compute", 1048576),
        (4343, "compute", None),
        (900, "graphics", 2048),
    ]


def test_what_was_said_before_the_driver_hung_is_kept(nvml_stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml_stub(machine([{**H100, "link.0": "hang"}, H100]))
    monkeypatch.setattr(child, "NVML_DEADLINE_SECONDS", 1.0)
    found = look()
    assert len(found["Gpus"].gpus) == len(found["GpuModes"].gpus) == 2
    assert found["GpuLinks"] == found["ConfidentialComputing"] == Missing("NVML gave no answer in 1 s")


def test_a_slow_driver_is_cut_off_and_said(nvml_stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml_stub(machine([{**H100, "slow": 40}]))
    monkeypatch.setattr(child, "NVML_DEADLINE_SECONDS", 1.2)
    found = look()
    assert found["Gpus"].gpus[0].name == "NVIDIA H100 80GB HBM3"
    assert found["GpuLinks"] == Missing("NVML gave no answer in 1.2 s")


def test_a_library_that_crashes_takes_only_the_rest_along(nvml_stub: Stub) -> None:
    nvml_stub(machine([{**H100, "crash": 40}]))
    found = look()
    assert found["Gpus"].gpus[0].index == 0
    assert found["GpuLinks"].reason.startswith("the NVML child ended with status -6: ")


def test_a_card_that_vanishes_between_two_questions(nvml_stub: Stub) -> None:
    nvml_stub(machine([H100, {**H100, "vanish": 20}]))
    found = look()
    assert len(found["Gpus"].gpus) == 2
    alive, gone = found["GpuErrors"].gpus
    assert alive.unread == ()
    assert {reason for _, reason in gone.unread} == {MEANINGS[15]}
    assert (gone.ecc, gone.row_remap_failed) == (None, None)


@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
def test_a_child_that_cannot_be_killed_is_said(nvml_stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml_stub("hang")
    left: list[int] = []
    kill = os.killpg
    with monkeypatch.context() as patch:  # stuck in the kernel: the signal is sent and nothing happens
        patch.setattr(child, "NVML_DEADLINE_SECONDS", 0.5)
        patch.setattr(os, "killpg", lambda group, _: left.append(group))
        found = look("Gpus", "GpuErrors", "Memory")
    kill(left[0], signal.SIGKILL)
    os.waitpid(left[0], 0)
    stuck = f"NVML gave no answer in 0.5 s and cannot be killed (process {left[0]} is stuck in the kernel)"
    assert found["Gpus"] == found["GpuErrors"] == Missing(stuck)
    assert found["Memory"].total_bytes > 0
    assert len(left) == 1
    gc.collect()  # the child's handle goes here, where its warning is expected


@pytest.mark.parametrize(("gpus", "seconds"), [(0, 2), (1, 2), (2, 3), (8, 9), (16, 9)])
def test_the_deadline_grows_with_the_number_of_gpus(gpus: int, seconds: float) -> None:
    assert child.nvml_deadline(gpus) == seconds


def test_all_probes_share_one_child(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def answer() -> dict[str, Any]:
        asked.append(1)
        raise Missing("the driver's library and the loaded kernel module are of different versions")

    monkeypatch.setattr(host, "ask_nvml", answer)
    found = look()
    assert len(asked) == 1
    assert {type(found[name]) for name in ("Gpus", *WIDE)} == {Missing}


def test_no_child_is_started_where_the_loader_knows_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def started(*_: Any) -> Any:
        raise AssertionError("a child was started")

    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    monkeypatch.setattr(child, "hear_child", started)
    monkeypatch.setattr(child, "_LOADER_CACHE", tmp_path / "cache")
    monkeypatch.setattr(child, "_LOADER_FOLDERS", (str(tmp_path),))
    with pytest.raises(AssertionError):  # no cache to look into: the child finds out
        LocalHost().nvml()
    (tmp_path / "cache").write_bytes(b"glibc-ld.so.cache1.1\0libnvidia-ml.so.1\0")
    assert child.nvml_may_be_here()
    (tmp_path / "cache").write_bytes(b"glibc-ld.so.cache1.1\0libc.so.6\0")
    with pytest.raises(Absent, match=r"^the NVIDIA management library \(libnvidia-ml.so.1\) is not installed$"):
        LocalHost().nvml()
    (tmp_path / "libnvidia-ml.so.1").touch()
    assert child.nvml_may_be_here()


def test_an_older_name_of_a_question_is_asked_only_where_the_newer_is_not_there(nvml_stub: Stub) -> None:
    nvml_stub(machine([{**H100, "reasons": "error 999"}]))  # the stub has no older name of this one
    (gpu,) = look("GpuClocks")["GpuClocks"].gpus
    assert (gpu.reasons, gpu.unread) == (None, (("reasons", MEANINGS[999]),))
    assert gpu.celsius == 31  # and of the temperature it has only the older
