"""STO: both sides of every threshold."""

from __future__ import annotations

from typing import Any

import pytest

from provision.check import CHECKS
from provision.fact import Absent, Missing
from provision.facts.disks import Disk, Disks, Mount, Mounts
from provision.facts.docker import DaemonJson, Docker, Images
from provision.facts.system import System
from provision.plan import Rollout, Storage

GIB = 1 << 30
NOT_BUILT = {Images: Absent("no engine")}
NO_ENGINE = {**NOT_BUILT, Docker: Absent("no engine"), DaemonJson: Absent("no file")}


@pytest.mark.parametrize(("free", "found"), [(36 * GIB, 0), (36 * GIB - 1, 1)])
def test_sto001_needs_room_for_the_image(a: Any, messages: Any, free: int, found: int) -> None:
    assert len(messages("STO001", a(Docker, data_root_free_bytes=free), NOT_BUILT)) == found


@pytest.mark.parametrize(("free", "found"), [(36 * GIB, 0), (36 * GIB - 1, 1)])
def test_sto001_asks_the_mount_before_there_is_an_engine(a: Any, messages: Any, free: int, found: int) -> None:
    assert len(messages("STO001", a(Mounts, mounts=(a(Mount, free_bytes=free),)), NO_ENGINE)) == found


def test_sto001_takes_the_innermost_mount_and_the_chosen_data_root(a: Any, messages: Any) -> None:
    mounts = a(
        Mounts,
        mounts=(
            a(Mount, free_bytes=400 * GIB),
            a(Mount, mount_point="/data", free_bytes=GIB),
            a(Mount, mount_point="/data2", free_bytes=0),
        ),
    )
    chosen = a(DaemonJson, text='{"data-root": "/data/docker"}', keys=("data-root",))
    assert messages("STO001", mounts, {**NO_ENGINE, DaemonJson: chosen}) == [
        "/data/docker has 1.0 GiB free; building the image needs 36.0 GiB"
    ]


def test_sto001_does_not_ask_for_room_for_an_image_that_is_built(a: Any, run_check: Any) -> None:
    full = a(Docker, data_root_free_bytes=0)
    assert run_check("STO001", full).outcome == "skipped"
    assert run_check("STO001", full, a(Rollout, tag="another")).outcome == "found"


def test_sto001_cannot_look_behind_a_mount_that_does_not_answer(a: Any) -> None:
    dead = a(Mount, free_bytes=None, inodes_total=None, inodes_free=None, unreachable="no answer in 2 s")
    given = {
        "mounts": a(Mounts, mounts=(dead,)),
        "docker": Absent("x"),
        "daemon_json": Absent("x"),
        "images": Absent("x"),
    }
    for code in ("STO001", "STO002"):
        with pytest.raises(Missing, match="no answer in 2 s"):
            list(CHECKS[code].function(**given, rollout=a(Rollout), plan=a(Storage)))
    with pytest.raises(Missing, match="none of the mounts"):
        list(CHECKS["STO001"].function(**given | {"mounts": Mounts(mounts=())}, rollout=a(Rollout), plan=a(Storage)))


@pytest.mark.parametrize(("free", "found"), [(200_000, 0), (199_999, 1)])
def test_sto002_needs_inodes_for_the_image(a: Any, messages: Any, free: int, found: int) -> None:
    assert len(messages("STO002", a(Mounts, mounts=(a(Mount, inodes_free=free),)), NOT_BUILT)) == found


def test_sto002_does_not_judge_a_file_system_without_fixed_inodes(a: Any, run_check: Any) -> None:
    mounts = a(Mounts, mounts=(a(Mount, filesystem="btrfs", inodes_total=0, inodes_free=0),))
    result = run_check("STO002", mounts, NOT_BUILT)
    assert (result.outcome, result.reason) == ("skipped", "btrfs has no fixed number of inodes")


@pytest.mark.parametrize(("options", "found"), [(("relatime", "rw"), 0), (("errors=remount-ro", "ro"), 1)])
def test_sto003_needs_to_write_its_state(a: Any, messages: Any, options: tuple[str, ...], found: int) -> None:
    assert len(messages("STO003", a(Mounts, mounts=(a(Mount, options=options),)))) == found


@pytest.mark.parametrize(("rotational", "found"), [(False, 0), (True, 1)])
def test_sto004_wants_no_rotating_disk(a: Any, messages: Any, rotational: bool, found: int) -> None:
    disks = a(Disks, disks=(a(Disk, name="nvme0n1", rotational=rotational), a(Disk, name="sdb", rotational=True)))
    assert len(messages("STO004", disks)) == found


@pytest.mark.parametrize(
    ("transport", "model"),
    [
        ("virtio", None),  # vda, and sd* behind virtio-scsi
        ("xen", None),
        ("hyperv", "Virtual Disk"),
        ("sata", "QEMU HARDDISK"),
        ("sas", "Virtual disk"),  # VMware
        ("scsi", "PersistentDisk"),
    ],
)
@pytest.mark.parametrize(("rotational", "outcome"), [(True, "unknown"), (False, "ok")])
@pytest.mark.parametrize("code", ["STO004", "STO053"])
def test_a_virtual_disk_is_not_called_a_rotating_one(
    a: Any, run_check: Any, code: str, rotational: bool, outcome: str, transport: str, model: str | None
) -> None:
    disk = a(Disk, name="nvme0n1", rotational=rotational, transport=transport, model=model)
    result = run_check(code, a(Disks, disks=(disk,)), a(System, virtualization="kvm"))
    assert result.outcome == outcome
    if rotational:
        assert result.reason == (
            "nvme0n1 is a virtual disk, and what it lies on only its host knows; 'provision disk' measures it"
        )


@pytest.mark.parametrize("code", ["STO004", "STO053"])
def test_a_virtual_disk_does_not_hide_a_real_rotating_one(a: Any, run_check: Any, code: str) -> None:
    disks = a(
        Disks,
        disks=(
            a(Disk, name="sda", rotational=True, transport="sata", model="ST4000NM0035-1V4"),
            a(Disk, name="vda", rotational=True, transport="virtio", model=None),
        ),
    )
    mounts = a(Mounts, mounts=(a(Mount, mount_point="/", disks=("sda", "vda")),))
    (finding,) = run_check(code, disks, mounts, a(System, virtualization="kvm")).findings
    assert finding.measured == {"disks": ["sda"]}


def test_sto004_is_not_sure_in_a_virtual_machine(a: Any, run_check: Any) -> None:
    disks = a(Disks, disks=(a(Disk, name="nvme0n1", rotational=True),))
    (real,) = run_check("STO004", disks).findings
    (virtual,) = run_check("STO004", disks, a(System, virtualization="kvm")).findings
    assert (real.certainty, real.tell_apart) == ("certain", ())
    assert (virtual.certainty, virtual.tell_apart) == ("possible", ("provision disk /var/lib/docker",))


@pytest.mark.parametrize(("network", "found"), [(False, 0), (True, 1)])
def test_sto005_wants_a_local_data_root(a: Any, messages: Any, network: bool, found: int) -> None:
    mounts = a(Mounts, mounts=(a(Mount, network=network, filesystem="nfs4"),))
    assert len(messages("STO005", mounts)) == found


@pytest.mark.parametrize(("driver", "found"), [("overlay2", 0), ("overlayfs", 0), ("btrfs", 0), ("vfs", 1)])
def test_sto006_wants_layers(a: Any, messages: Any, driver: str, found: int) -> None:
    assert len(messages("STO006", a(Docker, storage_driver=driver))) == found


def test_sto007_names_every_mount_that_does_not_answer(a: Any, messages: Any) -> None:
    dead = a(Mount, mount_point="/models", filesystem="nfs4", unreachable="stat gave no answer in 2 s")
    said = messages("STO007", a(Mounts, mounts=(a(Mount), dead)))
    assert said == ["/models (nfs4) does not answer: stat gave no answer in 2 s"]


def test_sto007_does_not_tell_a_user_to_unmount_what_he_may_not_look_into(
    a: Any, messages: Any, run_check: Any
) -> None:
    closed = a(Mount, mount_point="/srv/a", unreachable="/srv/a: permission denied")
    result = run_check("STO007", a(Mounts, mounts=(a(Mount), closed)))
    assert (result.outcome, result.reason) == ("unknown", "/srv/a: permission denied")
    dead = a(Mount, mount_point="/models", filesystem="nfs4", unreachable="stat gave no answer in 2 s")
    said = messages("STO007", a(Mounts, mounts=(closed, dead)))
    assert said == ["/models (nfs4) does not answer: stat gave no answer in 2 s"]
