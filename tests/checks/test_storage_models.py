"""STO050 to STO068: both sides of every threshold, with the exact words."""

from __future__ import annotations

from typing import Any

import pytest

from provision.fact import Absent
from provision.facts.block import (
    Array,
    Arrays,
    BlockQueue,
    BlockQueues,
    DiskErrors,
    FileSystemErrors,
    NvmeController,
    NvmeControllers,
)
from provision.facts.caches import CacheFolder, CacheFolders
from provision.facts.disks import Disk, Disks, Mount, Mounts
from provision.facts.models import ModelFiles
from provision.facts.system import System
from provision.spec import Expect, Spec

ROOM = 15_000_000_000
HUB = "/root/.cache/huggingface"


def mounted(a: Any, **overrides: Any) -> Mounts:
    return a(Mounts, mounts=(a(Mount, **overrides),))  # type: ignore[no-any-return]


@pytest.mark.parametrize(("free", "found"), [(ROOM, 0), (ROOM - 1, 1)])
def test_sto050_wants_room_for_a_small_model(a: Any, messages: Any, free: int, found: int) -> None:
    said = messages("STO050", mounted(a, free_bytes=free))
    assert said == [f"{HUB} has 14.0 GiB free; a small model (8 billion parameters) is 14.0 GiB"][:found]


def test_sto050_does_not_know_a_mount_that_does_not_answer(a: Any, run_check: Any) -> None:
    result = run_check("STO050", mounted(a, free_bytes=None, unreachable="no answer in 2 s"))
    assert (result.outcome, result.reason) == ("unknown", "/: no answer in 2 s")


@pytest.mark.parametrize(("free", "total", "found"), [(13019, 99, 0), (13018, 99, 1), (0, 0, 0), (None, None, 0)])
def test_sto051_wants_inodes_for_one_environment(
    a: Any, messages: Any, free: int | None, total: int | None, found: int
) -> None:
    said = messages("STO051", mounted(a, inodes_free=free, inodes_total=total))
    assert said == [f"{HUB} lies on /, which has 13018 free inodes; one torch is 13019 files"][:found]


@pytest.mark.parametrize(("network", "found"), [(False, 0), (True, 1)])
def test_sto052_wants_models_near(a: Any, messages: Any, network: bool, found: int) -> None:
    said = messages("STO052", mounted(a, network=network, filesystem="nfs4"))
    assert said == [f"{HUB} (15.0 GiB seen) lies on /, over a network (nfs4)"][:found]


@pytest.mark.parametrize(
    ("rotational", "virtualization", "found", "certainty"),
    [(False, "none", 0, ""), (True, "none", 1, "certain"), (True, "kvm", 1, "possible")],
)
def test_sto053_wants_no_rotating_disk(
    a: Any, run_check: Any, rotational: bool, virtualization: str, found: int, certainty: str
) -> None:
    disks = a(Disks, disks=(a(Disk, name="nvme0n1", rotational=rotational),))
    result = run_check("STO053", disks, a(System, virtualization=virtualization))
    assert [(f.message, f.certainty) for f in result.findings] == [
        (f"{HUB} lies on nvme0n1, which the kernel calls a rotating disk", certainty)
    ][:found]


@pytest.mark.parametrize(("filesystem", "found"), [("ext4", 0), ("tmpfs", 1)])
def test_sto054_wants_models_on_a_disk(a: Any, messages: Any, filesystem: str, found: int) -> None:
    said = messages("STO054", mounted(a, filesystem=filesystem))
    assert said == [f"{HUB} holds 15.0 GiB in /, which is memory (tmpfs)"][:found]


@pytest.mark.parametrize(("filesystem", "found"), [("ext4", 0), ("overlay", 1)])
def test_sto055_wants_models_outside_the_layer(a: Any, messages: Any, filesystem: str, found: int) -> None:
    said = messages("STO055", mounted(a, filesystem=filesystem))
    assert said == [f"{HUB} holds 15.0 GiB in the container's own layer (overlay)"][:found]


@pytest.mark.parametrize(
    ("folder", "options", "said"),
    [
        ({}, ("rw",), []),
        ({"writable": False}, ("rw",), [f"{HUB} is not writable for this user: its permissions do not allow it"]),
        ({"writable": False}, ("ro",), [f"{HUB} is not writable for this user: / is mounted read-only"]),
        (
            {"writable": False, "there": False, "named_by": "HF_HOME"},
            ("rw",),
            [f"{HUB} cannot be made: it is not writable for this user: its permissions do not allow it (HF_HOME)"],
        ),
    ],
)
def test_sto056_wants_writable_caches(
    a: Any, messages: Any, folder: dict[str, Any], options: tuple[str, ...], said: list[str]
) -> None:
    folders = a(CacheFolders, folders=(a(CacheFolder, **folder),))
    assert messages("STO056", folders, mounted(a, options=options)) == said


def test_sto056_does_not_know_what_could_not_be_looked_at(a: Any, run_check: Any) -> None:
    folders = a(CacheFolders, folders=(a(CacheFolder, writable=None, unknown="/: no answer in 2 s"),))
    result = run_check("STO056", folders)
    assert (result.outcome, result.reason) == ("unknown", "/: no answer in 2 s")


@pytest.mark.parametrize(
    ("purpose", "options", "found"), [("compiled", (), 0), ("compiled", ("noexec",), 1), ("models", ("noexec",), 0)]
)
def test_sto057_wants_kernels_that_may_run(
    a: Any, messages: Any, purpose: str, options: tuple[str, ...], found: int
) -> None:
    folders = a(CacheFolders, folders=(a(CacheFolder, path="/tmp", purpose=purpose),))
    assert (
        messages("STO057", folders, mounted(a, options=options)) == ["/tmp lies on /, which is mounted noexec"][:found]
    )


@pytest.mark.parametrize(("options", "found"), [(("relatime", "rw"), 0), (("noatime",), 0), (("rw", "sync"), 1)])
def test_sto058_wants_no_synchronous_mount(a: Any, messages: Any, options: tuple[str, ...], found: int) -> None:
    said = messages("STO058", mounted(a, options=options))
    assert said == [f"{HUB} lies on /, which is mounted with sync and strictatime"][:found]


@pytest.mark.parametrize(("ahead", "found"), [(131072, 0), (131071, 1), (None, 0)])
def test_sto060_wants_the_kernels_read_ahead(a: Any, messages: Any, ahead: int | None, found: int) -> None:
    said = messages("STO060", a(BlockQueues, queues=(a(BlockQueue, read_ahead_bytes=ahead),)))
    assert said == ["nvme0n1 is read 128 KiB ahead; the kernel's default is 128 KiB"][:found]


def test_sto060_judges_disks_only(a: Any, messages: Any) -> None:
    assert messages("STO060", a(BlockQueues, queues=(a(BlockQueue, disk="dm-0", read_ahead_bytes=0),))) == []


@pytest.mark.parametrize(("scheduler", "found"), [("none", 0), ("mq-deadline", 0), ("bfq", 1)])
def test_sto061_wants_no_bfq_before_nvme(a: Any, messages: Any, scheduler: str, found: int) -> None:
    said = messages("STO061", a(BlockQueues, queues=(a(BlockQueue, scheduler=scheduler),)))
    assert said == ["nvme0n1 is scheduled by bfq"][:found]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, []),
        ({"healthy": False, "state": "[U_]"}, ["md0 (raid1) is [U_]"]),
        (
            {"healthy": False, "state": "[U_]", "rebuilding": "recovery = 12.6%"},
            ["md0 (raid1) is [U_]; recovery = 12.6%"],
        ),
        ({"name": "tank", "kind": "zpool", "healthy": False, "state": "DEGRADED"}, ["tank (zpool) is DEGRADED"]),
    ],
)
def test_sto062_wants_every_member(a: Any, messages: Any, change: dict[str, Any], said: list[str]) -> None:
    assert messages("STO062", a(Arrays, arrays=(a(Array, **change),))) == said


@pytest.mark.parametrize(
    ("rebuilding", "healthy", "found"), [("", True, 0), ("check = 3.1%", True, 1), ("check = 3.1%", False, 0)]
)
def test_sto063_says_what_an_array_does(a: Any, messages: Any, rebuilding: str, healthy: bool, found: int) -> None:
    arrays = a(Arrays, arrays=(a(Array, rebuilding=rebuilding, healthy=healthy),))
    assert messages("STO063", arrays) == ["md0 is at work on itself: check = 3.1%"][:found]


@pytest.mark.parametrize(("width", "found"), [(4, 0), (2, 1)])
def test_sto064_wants_every_lane(a: Any, messages: Any, width: int, found: int) -> None:
    said = messages("STO064", a(NvmeControllers, controllers=(a(NvmeController, link_width=width),)))
    assert said == ["nvme0 runs on 2 of its 4 PCIe lanes"][:found]


def test_sto064_says_where_the_bus_says_nothing(a: Any, run_check: Any) -> None:
    nvme = a(NvmeControllers, controllers=(a(NvmeController, link_width=None),))
    assert run_check("STO064", nvme).outcome == "skipped"


@pytest.mark.parametrize(("degrees", "found"), [(79.9, 0), (80.0, 1)])
def test_sto065_wants_a_cool_disk(a: Any, messages: Any, degrees: float, found: int) -> None:
    said = messages("STO065", a(NvmeControllers, controllers=(a(NvmeController, temperature_c=degrees),)))
    assert said == ["nvme0 is at 80 °C; its maker warns from 80 °C"][:found]


@pytest.mark.parametrize(("errors", "found"), [(0, 0), (3, 1)])
def test_sto066_wants_no_errors_in_the_books(a: Any, messages: Any, errors: int, found: int) -> None:
    said = messages("STO066", a(DiskErrors, counted=(a(FileSystemErrors, errors=errors),)))
    assert said == ["ext4 on nvme0n1p2 has counted 3 errors"][:found]


@pytest.mark.parametrize(("state", "found"), [("live", 0), (None, 0), ("dead", 1)])
def test_sto067_wants_a_live_controller(a: Any, messages: Any, state: str | None, found: int) -> None:
    said = messages("STO067", a(NvmeControllers, controllers=(a(NvmeController, state=state),)))
    assert said == ["nvme0 is dead"][:found]


def rate(a: Any, expected: int | None) -> Spec:
    return a(Spec, expect=Expect(disk_mb_per_s=expected))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("expected", "transport", "lanes", "mts", "carries"),
    [
        (7877, "nvme", 4, 16000, 7877),
        (7876, "nvme", 4, 16000, None),
        (1001, "nvme", 2, 5000, 1000),
        (1000, "nvme", 2, 5000, None),
        (601, "sata", 4, 16000, 600),
        (600, "sata", 4, 16000, None),
        (9999, "usb", 4, 16000, None),
        (9999, "nvme", None, 16000, None),
    ],
)
def test_sto068_wants_a_link_for_the_expected_rate(
    a: Any, run_check: Any, expected: int, transport: str, lanes: int | None, mts: int, carries: int | None
) -> None:
    nvme = a(NvmeControllers, controllers=(a(NvmeController, link_width=lanes, link_mts_max=mts),))
    disks = a(Disks, disks=(a(Disk, name="nvme0n1", transport=transport),))
    result = run_check("STO068", rate(a, expected), nvme, disks)
    assert [finding.message for finding in result.findings] == [
        f"{HUB} lies on nvme0n1: the link carries at most {carries} MB/s, and provision.toml expects {expected}"
    ] * (carries is not None)
    if carries is None:
        said = f"whether {expected} MB/s are reached is measured by 'provision disk PATH', not by the doctor"
        assert (result.outcome, result.reason) == ("unknown", said)


def test_sto068_counts_the_links_of_an_array_together(a: Any, run_check: Any) -> None:
    disks = a(Disks, disks=tuple(a(Disk, name=name, transport="sata") for name in ("sda", "sdb")))
    array = mounted(a, disks=("sda", "sdb"))
    assert run_check("STO068", rate(a, 1200), disks, array).outcome == "unknown"
    assert run_check("STO068", rate(a, 1201), disks, array).findings[0].measured["mb_per_s_at_most"] == 1200
    assert run_check("STO068", rate(a, 1201), disks, mounted(a, disks=("sda", "sdx"))).outcome == "unknown"


@pytest.mark.parametrize(
    ("lanes", "expected", "outcome"), [(1, 7877, "found"), (8, 7877, "unknown"), (None, 7877, "unknown")]
)
def test_sto068_takes_the_widest_link_of_nvme(
    a: Any, run_check: Any, lanes: int | None, expected: int, outcome: str
) -> None:
    other = a(NvmeController, name="nvme1", link_width=lanes)
    nvme = a(NvmeControllers, controllers=(a(NvmeController), other))
    assert run_check("STO068", rate(a, expected), nvme).outcome == outcome


def test_sto068_never_takes_an_expected_rate_for_met(a: Any, run_check: Any) -> None:
    sata = a(Disks, disks=(a(Disk, name="nvme0n1", transport="sata"),))
    assert run_check("STO068", rate(a, None), sata).outcome == "skipped"
    guest = a(System, virtualization="kvm")
    assert run_check("STO068", rate(a, 9999), sata, guest).outcome == "unknown"
    for unseen in ({CacheFolders: Absent("none")}, {Disks: Absent("none")}, a(CacheFolders, folders=())):
        assert run_check("STO068", rate(a, 9999), sata, unseen).outcome == "unknown"


def test_a_folder_of_models_that_is_not_there_is_not_judged(a: Any, run_check: Any) -> None:
    folders = a(CacheFolders, folders=(a(CacheFolder, there=False),))
    for code in ("STO050", "STO058"):
        assert run_check(code, folders).outcome == "skipped"
    assert run_check("STO052", a(ModelFiles, folders=())).outcome == "ok"
