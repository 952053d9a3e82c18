"""NVIDIA cards on the PCI bus, seen without any driver."""

from __future__ import annotations

import posixpath
import re

from provision.fact import Absent, NotKnown, fact, probe
from provision.host import Host, or_none
from provision.record import record

_NVIDIA = "10de"
_CLASSES = ("0300", "0302")  # VGA and 3D controllers; 0403 is the card's sound, 0680 an NVSwitch


@record
class PciCard:
    address: str  # "0000:01:00.0", as in /sys/bus/pci/devices
    vendor_id: str  # "10de", four hexadecimal digits as lspci -nn prints them
    device_id: str  # "2684"
    pci_class: str  # "0300" VGA controller, "0302" 3D controller
    kernel_driver: str | None  # "nvidia", "nouveau", "vfio-pci"; None: no driver has the card
    link_width: int | None  # lanes in use; None where the bridge does not say
    link_width_max: int | None
    link_mts: int | None  # megatransfers per second in use; an idle card lowers it, the width stays
    link_mts_max: int | None


@fact
class NvidiaCards:
    cards: tuple[PciCard, ...]  # at least one; display and 3D functions only, no audio function, no NVSwitch


@probe
def nvidia_cards(host: Host) -> NvidiaCards:
    """Every NVIDIA display or 3D controller on the PCI bus, with the driver that holds it and its link.

    Source: ``/sys/bus/pci/devices``. Needs no driver and no ``lspci``. A link's width and rate are missing where the
    card sits behind no PCIe port (most virtual machines).
    """
    if not host.exists("/sys/bus/pci/devices"):
        raise Absent("this machine has no PCI bus")
    cards = []
    for vendor in host.glob("/sys/bus/pci/devices/*/vendor"):
        folder = posixpath.dirname(vendor)
        if _identity(host, folder, "vendor") == _NVIDIA and _identity(host, folder, "class")[:4] in _CLASSES:
            cards.append(_card(host, folder))
    if not cards:
        raise Absent("no NVIDIA card on the PCI bus")
    return NvidiaCards(cards=tuple(cards))


def _card(host: Host, folder: str) -> PciCard:
    driver = or_none(host.link, f"{folder}/driver")
    return PciCard(
        address=posixpath.basename(folder),
        vendor_id=_NVIDIA,
        device_id=_identity(host, folder, "device"),
        pci_class=_identity(host, folder, "class")[:4],
        kernel_driver=posixpath.basename(driver) if driver else None,
        link_width=lanes(_said(host, folder, "current_link_width")),
        link_width_max=lanes(_said(host, folder, "max_link_width")),
        link_mts=megatransfers(_said(host, folder, "current_link_speed")),
        link_mts_max=megatransfers(_said(host, folder, "max_link_speed")),
    )


def _identity(host: Host, folder: str, name: str) -> str:
    return host.read(f"{folder}/{name}").strip().removeprefix("0x")


def _said(host: Host, folder: str, name: str) -> str:
    return or_none(host.read, f"{folder}/{name}", reasons=NotKnown) or ""  # a card off the bus fails these with EINVAL


def lanes(text: str) -> int | None:
    """ "16" as /sys writes a link's width; None for none."""
    lanes = int(text) if text.strip().isdigit() else 0
    return lanes if 0 < lanes < 255 else None  # 255: the card no longer answers


def megatransfers(text: str) -> int | None:
    """ "16.0 GT/s PCIe" as /sys writes a link's speed; None for none."""
    found = re.match(r"([\d.]+) GT/s", text)
    return round(float(found[1]) * 1000) if found else None
