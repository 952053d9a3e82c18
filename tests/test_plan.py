"""The plan is the desired state: planning after applying changes nothing, section by section."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import pytest

from provision import codec, plan, spec
from provision.fact import Absent, Missing, Snapshot
from provision.facts.docker import DaemonJson
from provision.facts.engines import ContainerEngines, EngineFound
from provision.facts.fstab import FileSystemTable
from provision.facts.pci import NvidiaCards, PciCard
from provision.facts.system import System
from provision.plan import SECTIONS, Plan

SYSTEM = System(
    os_id="debian",
    os_version="12",
    os_codename="bookworm",
    os_name="Debian GNU/Linux 12 (bookworm)",
    kernel="6.1.0-30-amd64",
    architecture="x86_64",
    hostname="gpu-07",
    init="systemd",
    container="none",
    virtualization="none",
    glibc="2.36",
)
CARD = PciCard(
    address="0000:01:00.0",
    vendor_id="10de",
    device_id="2330",
    pci_class="0302",
    kernel_driver=None,
    link_width=16,
    link_width_max=16,
    link_mts=32000,
    link_mts_max=32000,
)


def daemon_json(text: str) -> DaemonJson:
    return DaemonJson(path="/etc/docker/daemon.json", text=text, keys=tuple(sorted(json.loads(text))), error=None)


FSTAB = "UUID=5d7a / ext4 errors=remount-ro 0 1\n"
VOLUME = spec.StorageSpec(disks=("S1", "/dev/disk/by-id/nvme-X_S2"), read_ahead_kib=4096)


def table(text: str) -> FileSystemTable:
    return FileSystemTable(path="/etc/fstab", text=text)


def engine(kind: str) -> EngineFound:
    return EngineFound(kind=kind, version="20.10", running=True, evidence=(f"package {kind}",))  # type: ignore[arg-type]


def machine(**facts: Any) -> Snapshot:
    """A bare Debian 12 server; any fact may be given."""
    known = {
        "System": SYSTEM,
        "NvidiaCards": Absent("no NVIDIA card on the PCI bus"),
        "ContainerEngines": Absent("no container engine is installed"),
        "DaemonJson": Absent("/etc/docker/daemon.json is not there"),
        "FileSystemTable": table(FSTAB),
    }
    return Snapshot("gpu-07", {**known, **facts}, "0.1.0")


def applied(made: Plan, before: Snapshot) -> Snapshot:
    """The facts of the machine after the plan was applied, as the roles leave it."""
    facts = {
        "ContainerEngines": ContainerEngines(found=(engine(made.dependencies.engine),)),
        "DaemonJson": daemon_json(made.dependencies.daemon_json),
    }
    if made.storage.volume is not None:
        facts["FileSystemTable"] = table(made.storage.volume.fstab)
    return Snapshot(before.machine, {**before.facts, **facts}, before.tool_version)


MACHINES = {
    "bare": machine(),
    "with a card": machine(NvidiaCards=NvidiaCards(cards=(CARD,))),
    "with docker-ce": machine(ContainerEngines=ContainerEngines(found=(engine("docker-ce"),))),
    "with a configured engine": machine(
        ContainerEngines=ContainerEngines(found=(engine("docker.io"),)),
        DaemonJson=daemon_json('{"storage-driver": "overlay2", "log-driver": "journald"}'),
    ),
    "without an init": machine(System=dataclasses.replace(SYSTEM, init="none")),
}


WISHES = {"nothing": spec.Spec(), "a volume": spec.Spec(storage=VOLUME)}


@pytest.mark.parametrize("wish", WISHES)
@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("section", [kind.__name__ for kind in SECTIONS])
def test_planning_after_applying_gives_the_same_section(name: str, section: str, wish: str) -> None:
    first = plan.make(MACHINES[name], WISHES[wish])
    again = plan.make(applied(first, MACHINES[name]), WISHES[wish], previous=first)
    by_type = {type(getattr(p, f.name)).__name__: getattr(p, f.name) for p in (again,) for f in dataclasses.fields(p)}
    wanted = next(
        getattr(first, f.name) for f in dataclasses.fields(first) if type(getattr(first, f.name)).__name__ == section
    )
    assert by_type[section] == wanted


@pytest.mark.parametrize("wish", WISHES)
@pytest.mark.parametrize("name", MACHINES)
def test_the_whole_plan_is_a_fixpoint_and_survives_its_file(name: str, wish: str) -> None:
    first = plan.make(MACHINES[name], WISHES[wish])
    again = plan.make(applied(first, MACHINES[name]), WISHES[wish], previous=first)
    assert again.digest == first.digest
    assert codec.load(Plan, json.loads(codec.dumps(first))) == first


def test_a_card_asks_for_the_cuda_build_whether_or_not_its_driver_works() -> None:
    made = plan.make(machine(NvidiaCards=NvidiaCards(cards=(CARD,))), spec.Spec())
    assert (made.cuda.accelerator, made.cuda.device, made.cuda.minimum_driver) == ("cu130", "cuda", "580.65.06")
    assert {"CUD-P2", "CUD-P3", "CUD-P4", "CUD-P5"} <= {p.code for p in made.proofs}


def test_without_a_card_no_gpu_proof_is_promised() -> None:
    made = plan.make(machine(), spec.Spec())
    assert made.cuda.accelerator == "cpu"
    assert [p.code for p in made.proofs] == sorted(p.code for p in made.proofs)
    assert "CUD-P2" not in {p.code for p in made.proofs}


def test_not_knowing_whether_there_is_a_card_is_no_plan_for_a_cpu() -> None:
    with pytest.raises(Missing, match="whether there is an NVIDIA card: permission denied"):
        plan.make(machine(NvidiaCards=Missing("permission denied")), spec.Spec())
    made = plan.make(machine(NvidiaCards=Missing("permission denied")), spec.Spec(accelerator="cpu"))
    assert made.cuda.device == "cpu"


def test_the_engine_that_is_here_is_kept() -> None:
    made = plan.make(MACHINES["with docker-ce"], spec.Spec())
    assert made.dependencies.engine == "docker-ce"
    assert "docker.io" not in made.dependencies.packages


def test_daemon_json_is_merged_and_the_administrators_choice_stays() -> None:
    made = plan.make(MACHINES["with a configured engine"], spec.Spec())
    assert json.loads(made.dependencies.daemon_json) == {"storage-driver": "overlay2", "log-driver": "journald"}
    bare = plan.make(machine(), spec.Spec())
    assert json.loads(bare.dependencies.daemon_json)["log-driver"] == bare.audit.log_driver


def test_a_daemon_json_that_is_not_json_is_no_reason_to_replace_it() -> None:
    broken = DaemonJson(path="/etc/docker/daemon.json", text="{", keys=(), error="not JSON")
    with pytest.raises(Missing, match="not JSON"):
        plan.make(machine(DaemonJson=broken), spec.Spec())


def test_another_lock_keeps_the_image_before_to_go_back_to() -> None:
    first = plan.make(machine(), spec.Spec())
    older = dataclasses.replace(first, rollout=dataclasses.replace(first.rollout, tag="cpu-000000000000"))
    second = plan.make(machine(), spec.Spec(), previous=older)
    assert second.rollout.previous_tag == "cpu-000000000000"
    assert plan.make(machine(), spec.Spec(), previous=second).rollout.previous_tag == "cpu-000000000000"


def test_checks_are_told_why_there_is_no_plan() -> None:
    told = plan.sections(Missing("no idea"), spec.Spec())
    assert all(told[kind] == Missing("no plan could be made: no idea") for kind in SECTIONS)


def volume(**changes: Any) -> plan.Volume:
    wish = dataclasses.replace(VOLUME, **changes)
    made = plan.make(machine(), spec.Spec(storage=wish)).storage.volume
    assert made is not None
    return made


def test_a_volume_is_known_by_uuids_that_follow_from_its_disks() -> None:
    made = volume()
    assert made == volume() and made.disks == ("S1", "nvme-X_S2")
    assert re.fullmatch("[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", made.array_uuid)
    assert made.mdadm_uuid.replace(":", "") == made.array_uuid.replace("-", "")
    assert len({made.array_uuid, made.filesystem_uuid, volume(disks=("S2", "S1")).array_uuid}) == 3
    assert volume(disks=("S1",), level="single").array_uuid == ""


def test_its_programs_are_among_the_packages() -> None:
    packages = plan.make(machine(), spec.Spec(storage=VOLUME)).dependencies.packages
    assert {"mdadm", "xfsprogs"} <= set(packages)
    assert not {"mdadm", "xfsprogs"} & set(plan.make(machine(), spec.Spec()).dependencies.packages)


def test_fstab_is_kept_and_gets_our_line_once() -> None:
    made = volume()
    assert made.fstab.startswith(FSTAB)
    (line,) = (one for one in made.fstab.splitlines() if "/srv/models" in one)
    assert line == (f"UUID={made.filesystem_uuid} /srv/models xfs noatime,nofail,x-systemd.device-timeout=5min 0 0")
    elsewhere = spec.Spec(storage=dataclasses.replace(VOLUME, mount_point="/data"))
    moved = plan.make(machine(FileSystemTable=table(made.fstab + "LABEL=x /x ext4 defaults 0 2\n")), elsewhere)
    assert moved.storage.volume is not None
    assert "/srv/models" not in moved.storage.volume.fstab and "LABEL=x /x" in moved.storage.volume.fstab
    assert volume(filesystem="ext4").fstab.endswith(" 0 2\n")


def test_somebody_elses_mount_at_the_same_place_stays() -> None:
    taken = machine(FileSystemTable=table("LABEL=big /srv/models/ ext4 defaults 0 2\n"))
    with pytest.raises(Missing, match="/etc/fstab mounts LABEL=big on /srv/models already"):
        plan.make(taken, spec.Spec(storage=VOLUME))
    with pytest.raises(Missing, match="permission denied"):
        plan.make(machine(FileSystemTable=Missing("permission denied")), spec.Spec(storage=VOLUME))
