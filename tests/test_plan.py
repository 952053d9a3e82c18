"""The plan is the desired state: planning after applying changes nothing, section by section."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from provision import codec, plan, spec
from provision.errors import UsageError
from provision.fact import Absent, Missing, Snapshot
from provision.facts.docker import DaemonJson
from provision.facts.engines import ContainerEngines, EngineFound
from provision.facts.fstab import FileSystemTable
from provision.facts.gpu_links import GpuLinks, LinkedGpu, NvLink
from provision.facts.gpus import Gpu, Gpus
from provision.facts.pci import NvidiaCards, PciCard
from provision.facts.system import System
from provision.plan import SECTIONS, Plan, Serving
from provision.report import text
from provision.spec_storage import StorageSpec

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
VOLUME = StorageSpec(disks=("S1", "/dev/disk/by-id/nvme-X_S2"), read_ahead_kib=4096)


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

SERVED = spec.Spec(model=spec.ModelSpec(name="deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", users=8))


def gpus(name: str, number: int, memory_bytes: int | None = 24564 << 20, mig: bool = False) -> Gpus:
    return Gpus(
        driver_version="580.82.07",
        cuda_version="13.0",
        gpus=tuple(
            Gpu(
                index=index,
                name=name,
                uuid=f"GPU-{index}",
                pci_address=f"0000:0{index}:00.0",
                memory_bytes=memory_bytes,
                memory_free_bytes=memory_bytes,
                compute_capability="8.9",
                pcie_width=16,
                pcie_width_max=16,
                pcie_generation=4,
                pcie_generation_max=4,
                mig_mode=mig,
                mig_mode_pending=mig,
                persistence=True,
                process_count=0,
            )
            for index in range(number)
        ),
        lost=(),
    )


def served(number: int, card: str = "NVIDIA GeForce RTX 4090", facts: Any = None, **wanted: Any) -> Serving:
    """The planned model on so many cards."""
    facts = {"Gpus": gpus(card, number, 81559 << 20 if "H100" in card else 24564 << 20), **(facts or {})}
    wanted = {"name": SERVED.model.name, "users": 8, **wanted}
    found = plan.make(machine(**facts), spec.Spec(model=spec.ModelSpec(**wanted))).gpu_memory.serving
    assert found is not None
    return found


MACHINES |= {
    "with four cards": machine(NvidiaCards=NvidiaCards(cards=(CARD,)), Gpus=gpus("NVIDIA GeForce RTX 4090", 4)),
    "with cards nobody knows": machine(NvidiaCards=NvidiaCards(cards=(CARD,)), Gpus=gpus("Foo 9", 2)),
    "with a driver that is silent": machine(NvidiaCards=NvidiaCards(cards=(CARD,)), Gpus=Missing("no answer in 2 s")),
}


@pytest.mark.parametrize("name", MACHINES)
def test_a_served_model_is_planned_the_same_after_applying(name: str) -> None:
    first = plan.make(MACHINES[name], SERVED)
    again = plan.make(applied(first, MACHINES[name]), SERVED, previous=first)
    assert (again.digest, again.gpu_memory) == (first.digest, first.gpu_memory)
    assert codec.load(Plan, json.loads(codec.dumps(first))) == first
    assert (first.gpu_memory.serving is None) == bool(first.gpu_memory.unserved)


def test_as_few_cards_as_hold_it_and_divide_its_heads() -> None:
    four = served(4)
    assert (four.verdict, four.tp, four.pp, four.ranks) == ("fits", 4, 1, 4)
    assert four.options[:2] == ("--tensor-parallel-size", "4")
    assert four.reasons[0] == "on 2 GPUs the weights alone lack 9.1 GiB each"
    assert four.reasons[1] == "4 GPUs are the fewest that hold it (3 would not divide the heads)"
    assert served(8).tp == 4
    assert "dp = 2 would use 4 more of the 8 GPUs, with a copy each" in served(8).reasons
    assert served(8, dp=2).ranks == 8


def test_three_cards_that_do_not_divide_the_heads_become_stages() -> None:
    smaller = "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B"
    three = served(3, name=smaller, context=8192)
    assert (three.tp, three.pp, three.verdict) == (1, 3, "fits")
    assert three.options[:2] == ("--pipeline-parallel-size", "3")
    assert served(4, name=smaller, context=8192).tp == 4


def test_a_split_that_is_asked_for_is_kept_and_judged() -> None:
    two = served(4, tp=2)
    assert (two.tp, two.verdict) == (2, "does not fit")
    assert "weights in awq (another checkpoint)" in two.instead
    uneven = served(4, tp=3)
    assert (uneven.verdict, uneven.card, uneven.options) == ("cannot be divided", None, ())
    assert uneven.refused == "tp 3: 40 attention heads cannot be divided by 3; 1, 2 or 4 can"


def test_one_card_that_only_probably_holds_it_is_passed_over_for_two() -> None:
    one, two = (served(number, card="NVIDIA H100 80GB HBM3", users=16) for number in (1, 2))
    assert (one.verdict, one.tp) == ("probably fits", 1)
    assert (two.verdict, two.tp) == ("fits", 2)
    assert two.reasons[0].startswith("on 1 GPU the cache may lack ")


@pytest.mark.parametrize(("active", "said"), [(False, True), (True, False)])
def test_cards_without_nvlink_are_told_of(active: bool, said: bool) -> None:
    link = NvLink(
        link=0,
        active=active,
        version=6,
        remote="gpu",
        remote_address=None,
        replay_errors=0,
        recovery_errors=0,
        crc_errors=0,
    )
    linked = tuple(
        LinkedGpu(index=index, nvlinks=(link,), fabric_state=None, fabric_error=None, fabric_faults=None, unread=())
        for index in range(4)
    )
    reasons = served(4, facts={"GpuLinks": GpuLinks(gpus=linked, pairs=())}).reasons
    assert any("no NVLink" in one for one in reasons) is said
    assert not any("NVLink" in one for one in served(4).reasons)  # not known: nothing is said


def test_the_card_counts_as_cuda_shows_it_and_never_for_more_than_the_driver_does() -> None:
    known = served(4).card
    assert known is not None and known.total_bytes < 24564 << 20
    virtual = served(4, facts={"Gpus": gpus("NVIDIA GeForce RTX 4090", 4, 12 << 30)})
    assert virtual.card is not None and virtual.card.total_bytes == 12 << 30
    assert virtual.assumed[-1].startswith("NVIDIA GeForce RTX 4090: CUDA shows the 12.0 GiB of the driver's list")
    smallest = gpus("NVIDIA GeForce RTX 4090", 1)
    mixed = dataclasses.replace(smallest, gpus=(*smallest.gpus, *gpus("NVIDIA GeForce RTX 3060", 1, 12 << 30).gpus))
    assert served(2, facts={"Gpus": mixed}).gpu == "NVIDIA GeForce RTX 3060"


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({}, "Gpus was not looked at"),
        ({"Gpus": Missing("no answer in 2 s")}, "no answer in 2 s"),
        ({"Gpus": Absent("no NVIDIA card")}, "no NVIDIA card"),
        (
            {"Gpus": gpus("NVIDIA H100 80GB HBM3", 1, mig=True)},
            "GPU 0 is divided by MIG, and the forecast is for whole cards",
        ),
        ({"Gpus": gpus("Foo 9", 1, None)}, "Foo 9 is not in the catalogue and has no memory of its own"),
        ({"Gpus": gpus("Foo 9", 0)}, "the driver drives no GPU"),
    ],
)
def test_where_no_card_can_be_judged_the_plan_says_why(facts: Any, why: str) -> None:
    made = plan.make(machine(**facts), SERVED)
    assert (made.gpu_memory.serving, made.gpu_memory.unserved) == (None, why)
    assert f"cannot be said: {why}" in text.plan(made, Path("run"))
    assert "serving" not in text.plan(plan.make(machine(**facts), spec.Spec()), Path("run"))


@pytest.mark.parametrize("facts", [{"Gpus": gpus("NVIDIA H100 80GB HBM3", 1)}, {"Gpus": Absent("none")}, {}])
def test_a_model_nobody_knows_is_an_error_of_the_file_with_the_nearest_name(facts: Any) -> None:
    unknown = spec.Spec(model=spec.ModelSpec(name="deepseek-ai/DeepSick-V3"))
    with pytest.raises(
        UsageError, match=r"provision.toml: model.name: no published .* nearest .*DeepSeek-V3"
    ) as caught:
        plan.make(machine(**facts), unknown)
    assert caught.value.exit_code == 2


def test_a_folder_is_read_and_one_that_is_not_there_is_said(tmp_path: Path) -> None:
    folder = str(Path(plan.__file__).parents[1] / "payload/smoke/model")
    made = plan.make(machine(Gpus=gpus("NVIDIA GeForce RTX 4090", 1)), spec.Spec(model=spec.ModelSpec(name=folder)))
    here = made.gpu_memory.serving
    assert here is not None and here.here and here.verdict == "fits"
    assert here.checkpoint_bytes == sum(p.stat().st_size for p in Path(folder).glob("*.safetensors"))
    with pytest.raises(UsageError, match=r"provision.toml: model.name: .*/gone: there is no such folder"):
        plan.make(machine(), spec.Spec(model=spec.ModelSpec(name=str(tmp_path / "gone"))))


def test_the_plan_as_text_has_options_and_reasons() -> None:
    said = text.plan(plan.make(machine(Gpus=gpus("NVIDIA GeForce RTX 4090", 4)), SERVED), Path("run"))
    assert "serving      16 bit with vllm on 4 of 4 GPUs" in said
    assert "on 4 of 4 GPUs (NVIDIA GeForce RTX 4090): fits" in said
    assert "--tensor-parallel-size 4 --max-model-len " in said
    assert "because      4 GPUs are the fewest that hold it" in said
    assert "each GPU     weights 15." in said
    refused = text.plan(
        plan.make(
            machine(Gpus=gpus("NVIDIA GeForce RTX 4090", 4)), spec.Spec(model=spec.ModelSpec(name="Qwen3-8B", tp=3))
        ),
        Path("run"),
    )
    assert "cannot be divided" in refused and "because      tp 3: 32 attention heads" in refused


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
