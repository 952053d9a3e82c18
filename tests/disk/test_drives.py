"""One disk: its kind and who says so, its link, its health."""

from __future__ import annotations

import json
from typing import Any

import pytest

from provision.fact import Absent
from provision.facts.disks import Disk
from provision.facts.drives import drive, nvme_health, smart_health
from provision.recorded import RecordedHost


def disk(name: str = "sda", transport: Any = "sata", rotational: bool = False, model: str | None = None) -> Disk:
    return Disk(name=name, rotational=rotational, transport=transport, bytes=1 << 40, model=model)


def page(rate: int) -> dict[str, str]:
    """SCSI's page B1 with a rotation rate."""
    return {"hexdump /sys/block/sda/device/vpd_pgb1": f"00b1003c{rate:04x}0000"}


@pytest.mark.parametrize(
    ("one", "answers", "kind", "emulated"),
    [
        (disk(rotational=True), page(7200), "hdd", False),
        (disk(rotational=True), page(1), "ssd", False),  # the disk's own word against the kernel's
        (disk(rotational=True), {}, "hdd", False),
        (disk(), {}, "ssd", False),
        (disk(transport="usb", rotational=True), {}, "unknown", False),
        (disk(transport="usb", rotational=True), page(5400), "hdd", False),
        (disk("vda", "virtio", rotational=True), {}, "virtual", True),
        (disk("sda", "virtio", rotational=True, model="QEMU HARDDISK"), {}, "virtual", True),
        (disk("sda", "virtio", rotational=True, model="QEMU HARDDISK"), page(7200), "hdd", True),
        (disk("sda", "scsi", rotational=True, model="Virtual disk"), page(0), "virtual", True),
        (disk("sda", "hyperv", model="Virtual Disk"), {}, "virtual", True),
        (disk("nvme0n1", "nvme", model="Samsung SSD 990 PRO"), {}, "nvme", False),
        (disk("nvme0n1", "nvme", model="QEMU NVMe Ctrl"), {}, "nvme", True),
        (disk("nvme0n1", "nvme", model="Amazon Elastic Block Store"), {}, "network", False),
        (disk("nvme0n1", "nvme"), {"read /sys/class/nvme/nvme0/transport": "tcp\n"}, "network", False),
        (
            disk("sdb", "scsi"),
            {"link /sys/block/sdb": "../devices/platform/host2/session1/target/block/sdb"},
            "network",
            False,
        ),
    ],
)
def test_the_kind_is_what_somebody_says_and_else_unknown(one: Disk, answers: Any, kind: str, emulated: bool) -> None:
    made = drive(RecordedHost({q: {"known": a} for q, a in answers.items()}), one)
    assert (made.kind, made.emulated) == (kind, emulated)
    assert made.because


def link(width: int, speed: str) -> dict[str, Any]:
    device = "/sys/class/nvme/nvme0/device"
    return {
        f"read {device}/current_link_width": {"known": str(width)},
        f"read {device}/current_link_speed": {"known": speed},
        f"read {device}/max_link_width": {"known": "4"},
        f"read {device}/max_link_speed": {"known": "16.0 GT/s PCIe"},
    }


@pytest.mark.parametrize(
    ("width", "speed", "said", "degraded"),
    [
        (4, "16.0 GT/s PCIe", "PCIe 4.0 x4 of 4.0 x4", False),
        (2, "16.0 GT/s PCIe", "PCIe 4.0 x2 of 4.0 x4", True),
        (4, "8.0 GT/s PCIe", "PCIe 3.0 x4 of 4.0 x4", True),
        (255, "Unknown", "", False),
    ],
)
def test_the_link_now_against_what_it_could_be(width: int, speed: str, said: str, degraded: bool) -> None:
    made = drive(RecordedHost(link(width, speed)), disk("nvme0n1", "nvme"))
    assert (made.link, made.link_degraded) == (said, degraded)


def test_a_sata_port_says_its_speed() -> None:
    answers = {"link /sys/block/sda": "../x/ata3/host2/sda", "read /sys/class/ata_link/link3/sata_spd": "3.0 Gbps\n"}
    assert drive(RecordedHost({q: {"known": a} for q, a in answers.items()}), disk()).link == "SATA 3.0 Gbps"


def log(**bytes_at: int) -> bytes:
    made = bytearray(512)
    made[1:3] = (273 + 41).to_bytes(2, "little")
    made[3] = 100
    for at, value in bytes_at.items():
        made[int(at[1:])] = value
    return bytes(made)


def test_nvme_health_is_read_from_its_log() -> None:
    well = nvme_health(log(b5=7))
    assert (well.well, well.warnings, well.used_percent, well.spare_percent, well.temperature_c) == (
        True,
        (),
        7,
        100,
        41,
    )
    ill = nvme_health(log(b0=0b101, b160=3))
    assert (ill.well, ill.warnings, ill.media_errors) == (False, ("spare is low", "unreliable"), 3)


def test_nvme_health_through_the_host_and_why_there_is_none() -> None:
    there = {"read /sys/class/nvme/nvme0/state": {"known": "live"}}
    made = drive(RecordedHost(there | {"nvme_log /dev/nvme0": {"known": log().hex()}}), disk("nvme0n1", "nvme"))
    assert made.health and made.health.well
    closed = {"nvme_log /dev/nvme0": {"missing": "/dev/nvme0: permission denied"}}
    made = drive(RecordedHost(there | closed), disk("nvme0n1", "nvme"))
    assert (made.health, made.health_unknown) == (None, "/dev/nvme0: permission denied")


def test_smartctl_where_it_is_and_where_it_says_nothing() -> None:
    said = {
        "smart_status": {"passed": False},
        "temperature": {"current": 38},
        "ata_smart_attributes": {"table": [{"id": 5, "raw": {"value": 12}}, {"id": 197, "raw": {"value": 0}}]},
    }
    question = "run smartctl -j -H -A /dev/sda"
    made = drive(RecordedHost({question: {"known": json.dumps(said)}}), disk())
    assert made.health and (made.health.well, made.health.warnings) == (False, ("12 reallocated sectors",))
    made = drive(RecordedHost({}), disk())
    assert made.health_unknown == "smartctl is not installed (apt-get install smartmontools)"
    with pytest.raises(Absent, match="Permission denied"):
        smart_health({"smartctl": {"messages": [{"string": "open failed: Permission denied"}]}})
    made = drive(RecordedHost({question: {"known": "not JSON"}}), disk())
    assert made.health is None and made.health_unknown
