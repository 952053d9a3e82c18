"""NVIDIA cards on the PCI bus, seen without any driver."""

from __future__ import annotations

from dataclasses import dataclass

from provision.fact import fact


@dataclass(frozen=True, kw_only=True, slots=True)
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
