"""One disk as a place to load models from: what kind it is, its link, queue and health. No fact: asked for a few disks."""

from __future__ import annotations

import json
import re
from typing import Any, Literal

from provision.fact import Absent, NotKnown
from provision.facts.disks import Disk
from provision.facts.pci import lanes, megatransfers
from provision.facts.reading import chosen, text, whole
from provision.host import Host, or_none
from provision.record import record

DriveKind = Literal["hdd", "ssd", "nvme", "network", "virtual", "unknown"]
# Standard inquiry data and NVMe's model number name who made the disk up; the rest are real.
_EMULATED = re.compile(r"\b(QEMU|VMware|VBOX|Virtual|Google|PersistentDisk|Msft|Xen)\b", re.IGNORECASE)
_OVER_A_NETWORK = re.compile(r"Elastic Block Store|PersistentDisk|nvme_card-pd", re.IGNORECASE)
_NOT_ROTATING = 1  # SBC-4, block device characteristics: 0 not reported, 1 no rotation, from 0x401 revolutions a minute
_SLOWEST_RPM = 0x401
# NVM Express base specification 1.4, figure 194 (SMART / Health Information, log page 2)
_WARNING, _TEMPERATURE, _SPARE, _USED, _UNITS_READ, _ERRORS = 0, 1, 3, 5, 32, 160
KELVIN = 273


@record
class Health:
    source: str  # "SMART log of NVMe", "smartctl"
    well: bool | None  # the disk's own verdict; None: it gives none
    warnings: tuple[str, ...]
    used_percent: int | None  # of the writes it was made for; may pass 100
    spare_percent: int | None
    media_errors: int | None
    temperature_c: int | None


@record
class Drive:
    name: str
    kind: DriveKind
    because: str  # who says so
    model: str | None
    emulated: bool  # a hypervisor makes it up: what it says of itself is a setting, not a measurement
    rpm: int | None
    bytes: int
    read_ahead_bytes: int | None
    scheduler: str | None
    link: str  # "PCIe 4.0 x4 of 4.0 x4", "SATA 6.0 Gbps"; empty where the bus does not say
    link_degraded: bool  # fewer lanes or a lower speed than both ends can do
    health: Health | None
    health_unknown: str  # why there is none


def drive(host: Host, disk: Disk) -> Drive:
    """What can be said of one disk of ``Disks``."""
    folder = f"/sys/block/{disk.name}"
    rpm = _rotation(host, folder)
    kind, because = _kind(host, disk, rpm)
    controller = _controller(host, disk)
    link, degraded = _pcie(host, controller) if controller else (_sata(host, folder), False)
    health, unknown = _health(host, disk, controller)
    ahead = whole(host, f"{folder}/queue/read_ahead_kb")
    return Drive(
        name=disk.name,
        kind=kind,
        because=because,
        model=disk.model,
        emulated=_emulated(host, disk),
        rpm=rpm if rpm and rpm >= _SLOWEST_RPM else None,
        bytes=disk.bytes,
        read_ahead_bytes=None if ahead is None else ahead * 1024,
        scheduler=chosen(host, f"{folder}/queue/scheduler"),
        link=link,
        link_degraded=degraded,
        health=health,
        health_unknown=unknown,
    )


def _kind(host: Host, disk: Disk, rpm: int | None) -> tuple[DriveKind, str]:
    """The kind and who says so. A hypervisor's disk that states no rotation is none of hdd and ssd."""
    model = disk.model or ""
    if _OVER_A_NETWORK.search(model):
        return "network", f"its model is {model}, a volume reached over the provider's network"
    if disk.transport == "nvme":
        carrier = next((said for c in _controllers(host, disk) if (said := text(host, f"{c}/transport"))), "pcie")
        if carrier in ("pcie", "apple-nvme"):
            return "nvme", "an NVMe controller"
        return "network", f"NVMe over {carrier}"
    if "/session" in (or_none(host.link, f"/sys/block/{disk.name}") or ""):
        return "network", "iSCSI"
    if rpm is not None and rpm >= _SLOWEST_RPM:
        return "hdd", f"the disk says that it turns {rpm} times a minute"
    if rpm == _NOT_ROTATING:
        return "ssd", "the disk says that nothing turns"
    if _emulated(host, disk):
        return "virtual", "a hypervisor's disk, which does not say what is beneath it"
    if disk.transport == "usb":
        return "unknown", "USB bridges often hide whether the disk turns"
    return ("hdd", "the kernel takes it for rotating") if disk.rotational else ("ssd", "the kernel takes it for solid")


def _emulated(host: Host, disk: Disk) -> bool:
    """By connection or model, as ``Disk.virtual``; SCSI's vendor and NVMe's longer model names say it too."""
    vendor = text(host, f"/sys/block/{disk.name}/device/vendor") or ""
    return disk.virtual or bool(_EMULATED.search(f"{vendor} {disk.model}"))


def _rotation(host: Host, folder: str) -> int | None:
    """The medium rotation rate from SCSI's page B1, which the kernel keeps since 5.19; None where there is no such page."""
    page = or_none(host.hexdump, f"{folder}/device/vpd_pgb1", reasons=NotKnown)
    return int(page[8:12], 16) if page and len(page) >= 12 else None


def _controllers(host: Host, disk: Disk) -> tuple[str, ...]:
    """/sys/class/nvme folders of a namespace; several where it has several paths."""
    number = re.match(r"nvme(\d+)n", disk.name)
    if not number:
        return ()
    several = host.glob(f"/sys/class/nvme-subsystem/nvme-subsys{number[1]}/nvme[0-9]*")
    names = [path.rsplit("/", 1)[1] for path in several if re.fullmatch(r"nvme\d+", path.rsplit("/", 1)[1])]
    return tuple(f"/sys/class/nvme/{name}" for name in names or [f"nvme{number[1]}"])


def _controller(host: Host, disk: Disk) -> str | None:
    return next((path for path in _controllers(host, disk) if host.exists(path)), None)


_GENERATIONS = {2500: "1.0", 5000: "2.0", 8000: "3.0", 16000: "4.0", 32000: "5.0", 64000: "6.0"}


def _pcie(host: Host, controller: str) -> tuple[str, bool]:
    device = f"{controller}/device"
    now = (
        lanes(text(host, f"{device}/current_link_width") or ""),
        megatransfers(text(host, f"{device}/current_link_speed") or ""),
    )
    most = (
        lanes(text(host, f"{device}/max_link_width") or ""),
        megatransfers(text(host, f"{device}/max_link_speed") or ""),
    )
    if None in now or None in most:
        return "", False
    width, speed, most_width, most_speed = now[0] or 0, now[1] or 0, most[0] or 0, most[1] or 0
    said = [f"{_GENERATIONS.get(s, f'{s} MT/s')} x{w}" for w, s in ((width, speed), (most_width, most_speed))]
    return f"PCIe {said[0]} of {said[1]}", width < most_width or speed < most_speed


def _sata(host: Host, folder: str) -> str:
    port = re.search(r"/ata(\d+)/", or_none(host.link, folder) or "")
    speed = text(host, f"/sys/class/ata_link/link{port[1]}/sata_spd") if port else None
    return f"SATA {speed}" if speed and speed[0].isdigit() else ""


def _health(host: Host, disk: Disk, controller: str | None) -> tuple[Health | None, str]:
    if controller:
        try:
            return nvme_health(bytes.fromhex(host.nvme_log(f"/dev/{controller.rsplit('/', 1)[1]}"))), ""
        except NotKnown as reason:
            return None, reason.reason
    if disk.transport not in ("sata", "sas", "usb", "scsi"):
        return None, f"{disk.transport} disks keep no record of their health"
    try:
        said = host.run("smartctl", "-j", "-H", "-A", f"/dev/{disk.name}", ok=tuple(range(256)))
        return smart_health(json.loads(said)), ""
    except Absent as reason:
        return None, f"{reason.reason} (apt-get install smartmontools)"
    except (NotKnown, ValueError) as reason:
        return None, str(reason)


def nvme_health(log: bytes) -> Health:
    """The 512 bytes of log page 2."""
    bits = ("spare is low", "too hot or too cold", "unreliable", "read-only", "backup power failed")
    warnings = tuple(name for bit, name in enumerate(bits) if log[_WARNING] >> bit & 1)
    kelvin = int.from_bytes(log[_TEMPERATURE : _TEMPERATURE + 2], "little")
    return Health(
        source="the disk's SMART log (NVMe log page 2)",
        well=not warnings,
        warnings=warnings,
        used_percent=log[_USED],
        spare_percent=log[_SPARE],
        media_errors=int.from_bytes(log[_ERRORS : _ERRORS + 16], "little"),
        temperature_c=kelvin - KELVIN if kelvin else None,
    )


def smart_health(said: dict[str, Any]) -> Health:
    """``smartctl -j -H -A``. Raises ``Absent`` where it says nothing of health: no permission, or a bridge that hides it."""
    passed = said.get("smart_status", {}).get("passed")
    table = said.get("ata_smart_attributes", {}).get("table", [])
    bad = {5: "reallocated sectors", 197: "sectors waiting to be reallocated", 198: "sectors that cannot be read"}
    counts = {row["id"]: row["raw"]["value"] for row in table if row.get("id") in bad}
    if passed is None and not counts:
        messages = [m.get("string", "") for m in said.get("smartctl", {}).get("messages", [])]
        raise Absent(f"smartctl says nothing of its health: {'; '.join(messages) or 'no message'}")
    return Health(
        source="smartctl",
        well=passed,
        warnings=tuple(f"{counts[number]} {name}" for number, name in bad.items() if counts.get(number)),
        used_percent=None,
        spare_percent=None,
        media_errors=counts.get(198),
        temperature_c=said.get("temperature", {}).get("current"),
    )
