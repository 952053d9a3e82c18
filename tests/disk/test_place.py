"""What a path stands on, from recorded answers: every layer, and every place where the view ends."""

from __future__ import annotations

from typing import Any

import pytest

from provision.disk.standing import device_of, standing
from provision.fact import Absent, Missing, NotKnown
from provision.facts.disks import disks
from provision.facts.drives import drive
from provision.facts.place import Layer, Place, place
from provision.host import or_none
from provision.recorded import RecordedHost

ROOT = "22 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw"
NVME = {
    "link /sys/dev/block/259:2": "../../devices/pci0000:00/0000:00:1d.0/0000:01:00.0/nvme/nvme0/nvme0n1/nvme0n1p2",
    "link /sys/class/block/nvme0n1p2": "../../devices/pci0000:00/0000:00:1d.0/0000:01:00.0/nvme/nvme0/nvme0n1/nvme0n1p2",
    "read /sys/class/block/nvme0n1p2/partition": "2",
    "link /sys/class/block/nvme0n1": "../../devices/pci0000:00/0000:00:1d.0/0000:01:00.0/nvme/nvme0/nvme0n1",
    "link /sys/block/nvme0n1": "../devices/pci0000:00/0000:00:1d.0/0000:01:00.0/nvme/nvme0/nvme0n1",
    "read /sys/block/nvme0n1/size": "1000215216",
    "read /sys/block/nvme0n1/queue/rotational": "0",
}


def host(path: str, *lines: str, **_: Any) -> Any:
    def build(more: dict[str, Any] | None = None) -> RecordedHost:
        answers = {**NVME, "read /proc/self/mountinfo": "\n".join((ROOT, *lines)), **(more or {})}
        answers.setdefault(f"run readlink -e -n -- {path}", path)
        return RecordedHost({q: a if isinstance(a, dict) else {"known": a} for q, a in answers.items()})

    return build


def kinds(found: Place) -> list[tuple[str, str]]:
    return [(layer.kind, layer.name) for layer in found.layers]


def judged(machine: RecordedHost, path: str) -> Any:
    found = place(machine, path)
    known = or_none(lambda: disks(machine), reasons=NotKnown)
    drives = tuple(drive(machine, d) for d in (known.disks if known else ()) if d.name in found.disks)
    return standing(found, drives, device_of(found), None)


def test_a_partition_of_an_nvme_disk() -> None:
    machine = host("/srv")()
    found = place(machine, "/srv")
    assert kinds(found) == [("partition", "nvme0n1p2"), ("disk", "nvme0n1")]
    assert (found.mount_point, found.filesystem, found.disks, found.unseen) == ("/", "ext4", ("nvme0n1",), "")
    made = judged(machine, "/srv")
    assert (made.kind, made.device_name, made.turns) == ("nvme", "nvme0n1", False)


def test_lvm_on_encryption_on_a_raid_of_two_disks() -> None:
    blocks = {
        "link /sys/dev/block/253:1": "../../devices/virtual/block/dm-1",
        "link /sys/class/block/dm-1": "x/dm-1",
        "read /sys/class/block/dm-1/dm/uuid": "LVM-abc",
        "read /sys/class/block/dm-1/dm/name": "vg-models",
        "link /sys/class/block/dm-1/slaves/dm-0": "../dm-0",
        "read /sys/class/block/dm-0/dm/uuid": "CRYPT-LUKS2-abc",
        "read /sys/class/block/dm-0/dm/name": "sealed",
        "link /sys/class/block/dm-0/slaves/md0": "../md0",
        "read /sys/class/block/md0/md/level": "raid0\n",
        "read /sys/class/block/md0/md/chunk_size": "524288\n",
        "link /sys/class/block/md0/slaves/nvme0n1p2": "../nvme0n1p2",
        "link /sys/class/block/md0/slaves/sda": "../sda",
    }
    machine = host("/m/a b", r"40 22 253:1 / /m/a\040b rw,noatime - xfs /dev/mapper/vg-models rw,attr2")(blocks)
    found = place(machine, "/m/a b")
    assert found.layers == (
        Layer(kind="lvm", name="dm-1", detail="vg-models"),
        Layer(kind="crypt", name="dm-0", detail="sealed"),
        Layer(kind="raid", name="md0", detail="raid0, 2 members, 512 KiB chunks"),
        Layer(kind="partition", name="nvme0n1p2", detail=""),
        Layer(kind="disk", name="nvme0n1", detail=""),
        Layer(kind="disk", name="sda", detail=""),
    )
    assert found.disks == ("nvme0n1", "sda")
    assert found.options == ("attr2", "noatime", "rw")
    made = judged(machine, "/m/a b")
    assert (made.kind, made.device_name) == ("raid", "dm-1")


def test_a_loop_device_leads_to_the_disk_of_its_file() -> None:
    loop = {
        "link /sys/dev/block/7:0": "../../devices/virtual/block/loop0",
        "read /sys/class/block/loop0/loop/backing_file": "/images/a.img\n",
    }
    line = "41 22 7:0 / /mnt rw - ext4 /dev/loop0 rw"
    assert kinds(place(host("/mnt", line)(loop), "/mnt")) == [
        ("loop", "loop0"),
        ("partition", "nvme0n1p2"),
        ("disk", "nvme0n1"),
    ]
    gone = place(
        host("/mnt", line)(loop | {"read /sys/class/block/loop0/loop/backing_file": "/a.img (deleted)"}), "/mnt"
    )
    assert (gone.disks, "not seen" in gone.unseen) == ((), True)


OVERLAY = "50 22 0:40 / /merged rw - overlay overlay rw,lowerdir=/l1:/l2,upperdir=/up,workdir=/work"


def test_an_overlay_stands_on_its_upper_folder() -> None:
    found = place(host("/merged", OVERLAY)({"exists /up": True}), "/merged")
    assert kinds(found) == [("overlay", "/up"), ("partition", "nvme0n1p2"), ("disk", "nvme0n1")]
    assert "upperdir=/up" not in found.options


def test_from_inside_a_container_the_overlays_folders_are_not_seen() -> None:
    machine = host("/merged", OVERLAY)()
    found = place(machine, "/merged")
    assert (kinds(found), found.disks) == ([("overlay", "/up")], ())
    made = judged(machine, "/merged")
    assert (made.kind, "not seen from inside" in made.kind_because) == ("unknown", True)


@pytest.mark.parametrize(
    ("line", "kind", "layer"),
    [
        ("60 22 0:50 / /p rw - tmpfs tmpfs rw", "memory", "memory"),
        ("60 22 0:50 / /p rw - nfs4 server:/export rw,vers=4.2", "network", "network"),
        ("60 22 0:50 / /p rw - cifs //server/share rw", "network", "network"),
        ("60 22 0:50 / /p rw - lustre 10.0.0.1@tcp:/fs rw", "network", "network"),
        ("60 22 0:50 / /p rw - ceph mon:/ rw", "network", "network"),
        ("60 22 0:50 / /p rw - fuse.juicefs JuiceFS:m rw", "network", "network"),
        ("60 22 0:50 / /p rw - virtiofs models rw", "network", "shared"),
        ("60 22 0:50 / /p rw - 9p models rw", "network", "shared"),
        ("60 22 0:50 / /p rw - fuse.portal portal rw", "unknown", None),
        ("60 22 0:50 / /p rw - zfs tank/models rw", "unknown", None),
    ],
)
def test_what_has_no_disk_of_this_machine(line: str, kind: str, layer: str | None) -> None:
    machine = host("/p", line)()
    made = judged(machine, "/p")
    assert made.kind == kind
    assert [one.kind for one in made.place.layers] == ([layer] if layer else [])
    assert bool(made.place.unseen) == (layer is None)
    assert made.place.network == (kind == "network")


def test_btrfs_over_two_disks_has_a_device_number_of_its_own() -> None:
    blocks = {
        "link /sys/class/block/sdb": "x/sdb",
        "link /sys/class/block/sdc": "x/sdc",
        "link /sys/fs/btrfs/uuid/devices/sdb": "x",
        "link /sys/fs/btrfs/uuid/devices/sdc": "x",
    }
    found = place(host("/b", "70 22 0:60 / /b rw - btrfs /dev/sdb rw")(blocks), "/b")
    assert kinds(found) == [("disk", "sdb"), ("disk", "sdc")]


def test_a_later_mount_hides_an_earlier_one_and_a_longer_name_is_not_inside() -> None:
    lines = (
        "80 22 0:70 / /p rw - nfs4 a:/x rw",
        "81 22 0:71 / /p rw - tmpfs t rw",
        "82 22 0:72 / /pp rw - nfs4 b:/ rw",
    )
    assert place(host("/p/q", *lines)(), "/p/q").filesystem == "tmpfs"
    assert place(host("/ppp", *lines)(), "/ppp").mount_point == "/"


def test_a_path_that_is_not_there_and_a_server_that_gives_no_answer() -> None:
    status = {"missing": "readlink -e -n failed with status 1: no message"}
    with pytest.raises(Absent, match="/no is not there"):
        place(host("/no")({"run readlink -e -n -- /no": status}), "/no")
    hung = {"missing": "readlink -e -n gave no answer in 2 s"}
    with pytest.raises(Missing, match="no answer"):
        place(host("/dead")({"run readlink -e -n -- /dead": hung}), "/dead")


def test_a_stack_without_end_is_said() -> None:
    loop = {
        "link /sys/dev/block/7:0": "x/loop0",
        "read /sys/class/block/loop0/loop/backing_file": "/mnt/a.img",
    }
    found = place(host("/mnt", "41 22 7:0 / /mnt rw - ext4 /dev/loop0 rw")(loop), "/mnt")
    assert "layers under each other" in found.unseen
