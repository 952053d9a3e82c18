"""The planned volume against the disks: what is shown, what is refused, what is taken back. On recorded machines."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from provision import plan, roles, undo_volume, volume
from provision.errors import ChangeError, ConsentNeeded
from provision.facts import contents
from provision.preview import preview
from provision.recorded import RecordedHost
from provision.render import Manifest, ManifestFile
from provision.spec_storage import PlacedModel
from provision.volume import VolumeBefore

ARRAY, FILES = "aaaaaaaa-0000-8000-8000-000000000000", "bbbbbbbb-0000-8000-8000-000000000000"
MODEL = PlacedModel(source="/mnt/tiny", sha256={"config.json": "0" * 64, "model.safetensors": "1" * 64})
VOLUME = plan.Volume(
    disks=("S1", "nvme-X_S2"),
    level="raid0",
    filesystem="xfs",
    mount_point="/srv/models",
    options=("noatime", "nofail"),
    read_ahead_kib=4096,
    wipe=(),
    array_uuid=ARRAY,
    filesystem_uuid=FILES,
    packages=("mdadm", "xfsprogs"),
    fstab="",
    model=MODEL,
)
SINGLE = dataclasses.replace(VOLUME, disks=("S1",), level="single", array_uuid="")


def row(name: str, serial: str | None = None, **more: Any) -> dict[str, Any]:
    empty = dict.fromkeys(("model", "fstype", "label", "uuid", "pttype", "mountpoint"))
    return {"name": name, "maj:min": "259:0", "type": "disk", "size": 10**12, "serial": serial, **empty, **more}


def host(*rows: dict[str, Any], **answers: Any) -> RecordedHost:
    said = json.dumps({"blockdevices": rows})
    return RecordedHost(
        {
            f"run lsblk --json --bytes --output {contents.COLUMNS}": {"known": said},
            "user": {"known": {"uid": 0, "gids": [0], "limits": {}}},
            "link /dev/disk/by-id/nvme-X_S2": {"known": "../../nvme1n1"},
            **{question: {"known": answer} for question, answer in answers.items()},
        }
    )


def made(
    mounted: bool = True, assembled: bool = True, filesystem: bool = True, files: str = "", other: str = ""
) -> RecordedHost:
    """Both disks are members; the array runs, with the file system, mounted, with the model's files and others in it."""
    fs = {"fstype": "xfs", "uuid": FILES} if filesystem else {}
    fs = {"fstype": other, "uuid": ARRAY} if other else fs
    md = row("md127", type="raid0", mountpoint="/srv/models" if mounted else None, **fs)
    member = {"fstype": "linux_raid_member", "uuid": ARRAY, **({"children": [md]} if assembled else {})}
    mountinfo = "1 0 9:127 / /srv/models rw - xfs /dev/md127 rw" if mounted else "1 0 8:1 / / rw - ext4 /dev/sda1 rw"
    answers = {
        "read /proc/self/mountinfo": mountinfo + "\n",
        "link /sys/dev/block/9:127": "../../devices/virtual/block/md127",
        "read /sys/class/block/md127/queue/read_ahead_kb": "128\n",
        "exists /srv/models/tiny/config.json": mounted,
        "run find /srv/models -xdev -mindepth 1 ! -type d -printf %P\\n": files,
    }
    return host(row("nvme0n1", "S1", **member), row("nvme1n1", None, **member), **answers)


BARE = host(row("nvme0n1", "S1", model="FAST"), row("nvme1n1", "other"))


def test_a_bare_machine_has_everything_to_make() -> None:
    state = volume.look(BARE, VOLUME)
    assert [disk.name for disk in state.disks] == ["nvme0n1", "nvme1n1"]
    assert (state.array, state.filesystem, state.mounted, state.placed, state.missing) == (False, False, False, (), ())
    volume.refuse(VOLUME, state)
    assert [holds for _, holds in volume.destroyed(VOLUME, state)] == ["", ""]


def test_a_volume_that_is_made_is_known_by_its_uuids() -> None:
    state = volume.look(made(), VOLUME)
    assert (state.array, state.filesystem, state.mounted, state.placed) == (True, True, True, ("config.json",))
    assert state.read_ahead_kib == 128
    volume.refuse(VOLUME, state)
    assert list(volume.destroyed(VOLUME, state)) == []
    assert not volume.look(made(mounted=False), VOLUME).mounted
    assert not volume.look(made(assembled=False), VOLUME).filesystem
    other = dataclasses.replace(VOLUME, array_uuid=FILES)
    assert not volume.look(made(), other).array


def test_a_single_disk_is_known_by_its_file_system() -> None:
    there = host(row("nvme0n1", "S1", fstype="xfs", uuid=FILES))
    assert volume.look(there, SINGLE).filesystem
    volume.refuse(SINGLE, volume.look(there, SINGLE))
    foreign = host(row("nvme0n1", "S1", fstype="xfs", uuid=ARRAY))
    with pytest.raises(ConsentNeeded, match="holds xfs on nvme0n1"):
        volume.refuse(SINGLE, volume.look(foreign, SINGLE))


@pytest.mark.parametrize(
    ("first", "wipe", "says"),
    [
        ({"fstype": "ext4", "label": "mine"}, (), r'S1 \(FAST, 1000.0 GB, /dev/nvme0n1\) holds ext4 "mine" on nvme0n1'),
        ({"pttype": "gpt"}, ("S2",), "holds a gpt partition table"),
        ({"fstype": "linux_raid_member", "uuid": FILES}, (), "holds linux_raid_member"),
        ({"fstype": "ext4", "mountpoint": "/data"}, ("S1",), "is in use: nvme0n1 is mounted on /data"),
        ({"fstype": "swap", "mountpoint": "[SWAP]"}, ("S1",), "is in use: nvme0n1 is swap"),
        ({"children": [row("vg-x", type="lvm")]}, ("S1",), r"is in use: nvme0n1 is part of vg-x \(lvm\)"),
        ({"serial": "S9"}, (), "S1: no disk here has this serial number or name"),
    ],
)
def test_a_disk_that_is_not_free_stops_the_run(first: dict[str, Any], wipe: tuple[str, ...], says: str) -> None:
    wanted = dataclasses.replace(VOLUME, wipe=wipe)
    machine = host({**row("nvme0n1", "S1", model="FAST"), **first}, row("nvme1n1", "other"))
    with pytest.raises(ConsentNeeded, match=says):
        volume.refuse(wanted, volume.look(machine, wanted))


def test_the_next_command_names_what_would_let_it_go_on() -> None:
    machine = host(row("nvme0n1", "S1", fstype="ext4"), row("nvme1n1", "other", pttype="dos"))
    with pytest.raises(ConsentNeeded) as caught:
        volume.refuse(VOLUME, volume.look(machine, VOLUME))
    assert caught.value.next_command == 'to destroy what they hold, in provision.toml: [storage] wipe = ["S1", "other"]'
    wanted = dataclasses.replace(VOLUME, wipe=("S1", "other"))
    volume.refuse(wanted, volume.look(machine, wanted))
    shown = [holds for _, holds in volume.destroyed(wanted, volume.look(machine, wanted))]
    assert shown == ["ext4 on nvme0n1", "a dos partition table"]


def test_one_serial_number_for_two_disks_is_none() -> None:
    with pytest.raises(ChangeError, match="S1 is the serial number of /dev/nvme0n1, /dev/nvme0n2"):
        volume.look(host(row("nvme0n1", "S1"), row("nvme0n2", "S1"), row("nvme1n1")), VOLUME)


@pytest.fixture
def foresee(a_plan: Any, snapshot: Any, present: Any) -> Any:
    """The preview of a machine that is right but for its volume."""

    def make(
        machine: RecordedHost, wanted: plan.Volume = VOLUME, only: tuple[str, ...] = roles.ALL
    ) -> list[tuple[Any, ...]]:
        planned = dataclasses.replace(a_plan, storage=dataclasses.replace(a_plan.storage, volume=wanted))
        seen = dataclasses.replace(present(), volume=volume.look(machine, wanted))
        changes = preview(planned, snapshot(), Manifest(plan="", machine="", files=()), {}, seen, only=only)
        return [(c.kind, c.what, c.detail, c.additive, c.needs) for c in changes]

    return make


def test_the_preview_shows_each_disk_and_what_it_loses(foresee: Any) -> None:
    wanted = dataclasses.replace(VOLUME, wipe=("S1",))
    machine = host(row("nvme0n1", "S1", model="FAST", fstype="ext4"), row("nvme1n1", None))
    first, second, *rest = foresee(machine, wanted)
    assert first == (
        "disk",
        "S1 (FAST, 1000.0 GB, /dev/nvme0n1)",
        "DESTROY what it holds (ext4 on nvme0n1) and make it part of a RAID 0 of 2 disks; that cannot be undone",
        False,
        "disks",
    )
    assert second[1:] == (
        "nvme1n1 (no model, 1000.0 GB, /dev/nvme1n1)",
        "make it part of a RAID 0 of 2 disks; nothing is on it",
        True,
        "disks",
    )
    assert [(kind, needs) for kind, _, _, _, needs in rest] == [
        ("disk", "disks"),
        ("mount", "disks"),
        ("disk", None),
        ("model", None),
    ]


def test_another_role_alone_neither_takes_the_disks_nor_asks_for_them(foresee: Any) -> None:
    machine = host(row("nvme0n1", "S1", fstype="ext4"), row("nvme1n1", None))
    with pytest.raises(ConsentNeeded, match="holds ext4"):
        foresee(machine, only=roles.tags("storage"))
    assert foresee(machine, only=roles.tags("isolation")) == []


def test_a_volume_that_is_there_is_no_change(foresee: Any) -> None:
    assert foresee(made()) == [
        ("disk", "read-ahead of /srv/models", "128 -> 4096 KiB", True, None),
        ("model", "/srv/models/tiny", "place 1 files from /mnt/tiny, each by its SHA-256", True, None),
    ]
    assert foresee(made(), dataclasses.replace(VOLUME, read_ahead_kib=128, model=None)) == []


def test_fstab_belongs_to_the_yes_for_the_disks(a_plan: Any, snapshot: Any, present: Any) -> None:
    file = ManifestFile(source="f", destination="/etc/fstab", section="storage", checks=(), shared=True)
    manifest = Manifest(plan="", machine="", files=(file,))
    seen = present(files={"/etc/fstab": "old\n"})
    (change,) = preview(a_plan, snapshot(), manifest, {"/etc/fstab": "new\n"}, seen)
    assert (change.needs, change.additive) == ("disks", False)


def kept_before(**changes: Any) -> VolumeBefore:
    fields = {"volume": VOLUME, "array": False, "filesystem": False, "mounted": False, "placed": ()}
    return VolumeBefore(**{**fields, **changes})


def steps(machine: RecordedHost, before: VolumeBefore | None) -> tuple[Any, Any, list[str]]:
    kept: list[str] = []
    asked, model = undo_volume.steps(machine, before, kept)
    return {key: asked[key] for key in ("forget", "stop") if key in asked}, model, kept


def test_the_run_that_made_it_takes_it_back_whole() -> None:
    own = "tiny/config.json\ntiny/.model.safetensors.part\ntiny/.provision-placed.json\n"
    assert steps(made(files=own), kept_before()) == ({"forget": True, "stop": True}, (), [])


def test_what_others_put_there_stays_on_the_disks() -> None:
    asked, _, (said,) = steps(made(files="tiny/config.json\nnotes\n"), kept_before())
    assert asked == {"forget": False, "stop": True}
    assert (
        said.startswith("the volume of /srv/models holds 1 files that are not of this run")
        and "mdadm --assemble" in said
    )


def test_what_cannot_be_seen_stays_too() -> None:
    asked, _, (said,) = steps(made(mounted=False), kept_before())
    assert asked["forget"] is False and "is not mounted" in said


def test_a_run_that_was_broken_off_before_there_was_a_file_system() -> None:
    assert steps(made(mounted=False, filesystem=False), kept_before())[0] == {"forget": True, "stop": True}


def test_an_array_that_does_not_run_or_was_made_anew_by_somebody_keeps_its_superblocks() -> None:
    for machine in (made(mounted=False, assembled=False), made(mounted=False, other="ext4")):
        asked, _, (said,) = steps(machine, kept_before())
        assert asked == {"forget": False, "stop": True} and "what is on its disks stays" in said


def test_a_run_that_found_the_volume_there_leaves_it() -> None:
    before = kept_before(array=True, filesystem=True, mounted=True)
    assert steps(made(), before) == ({}, ("config.json",), [])
    assert steps(made(), dataclasses.replace(before, placed=("config.json",))) == ({}, (), [])
    assert steps(made(), dataclasses.replace(before, mounted=False))[0] == {"forget": False, "stop": False}
    # An array that did not run when the run began may have held anything.
    stopped = kept_before(array=True)
    assert steps(made(), stopped)[0] == {"forget": False, "stop": False}


def test_nothing_was_planned_or_made() -> None:
    assert steps(BARE, None) == ({}, (), [])
    assert steps(BARE, kept_before()) == ({}, (), [])
    assert undo_volume.folders(None) == set()
    assert undo_volume.folders(kept_before()) == {"/srv/models", "/srv", "/"}
