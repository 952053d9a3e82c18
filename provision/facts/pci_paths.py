"""The way from each NVIDIA card to the processor: bridges, their limits and switches, and what the bus counted."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from provision.fact import Absent, NotKnown, fact, probe
from provision.facts.pci import NvidiaCards, lanes, megatransfers
from provision.host import Host, or_none
from provision.record import record

_BUS = "/sys/bus/pci/devices"
_ADDRESS = re.compile(r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
# PCI Express base specification 5.0: extended capabilities start at 0x100; ACS is 0x000d, its control word at +6.
_EXTENDED, _ACS, _CONTROL = 0x100, 0x000D, 6
_ACS_BITS = ((0, "source validation"), (2, "request redirect"), (3, "completion redirect"), (4, "upstream forwarding"))


@record
class Bridge:
    address: str
    link_width_max: int | None  # lanes it is wired for; None where it says none (a root port in a virtual machine)
    link_mts_max: int | None
    acs: tuple[str, ...] | None  # access controls switched on; None: the configuration space is closed to this user


@record
class CardPath:
    address: str
    bridges: tuple[str, ...]  # from the root port to the card
    numa_node: int | None  # None: the firmware does not say
    iommu_group: str | None  # None: no IOMMU translates for it
    iommu_type: str | None  # "DMA", "DMA-FQ": translated; "identity": passed through
    largest_bar_bytes: int | None  # BAR 1: the window into its memory
    aer_corrected: int | None  # since boot; None: the kernel does not count for it
    aer_nonfatal: int | None
    aer_fatal: int | None


@fact
class PciPaths:
    cards: tuple[CardPath, ...]  # by address
    bridges: tuple[Bridge, ...]  # those on the way, each once
    uptime_seconds: float  # how long the counters have counted


@fact
class NvSwitches:
    addresses: tuple[str, ...]  # NVSwitch devices on the bus, at least one


@probe
def pci_paths(host: Host, cards: NvidiaCards) -> PciPaths:
    """Every NVIDIA card's bridges, NUMA node, IOMMU group, memory window, and the errors that the bus counted.

    Sources: ``/sys/bus/pci/devices``, ``/sys/kernel/iommu_groups``, ``/proc/uptime``. The access controls (ACS) stand in
    the bridges' extended configuration space, which only root can read.
    """
    paths = tuple(_path(host, card.address) for card in cards.cards)
    bridges = sorted({bridge for path in paths for bridge in path.bridges})
    return PciPaths(
        cards=paths,
        bridges=tuple(_bridge(host, address) for address in bridges),
        uptime_seconds=float(host.read("/proc/uptime").split()[0]),
    )


@probe
def nv_switches(host: Host, cards: NvidiaCards) -> NvSwitches:  # noqa: ARG001  no card, no switch
    """NVSwitch devices: GPUs behind them need a fabric manager.

    Source: ``/sys/bus/pci/devices``, vendor 10de, class 0680. From NVLink 5 on (HGX B200) the switches are not on the
    host's bus; there the fabric's state in ``GpuLinks`` tells.
    """
    found = [
        posixpath.basename(posixpath.dirname(path))
        for path in host.glob(f"{_BUS}/*/vendor")
        if host.read(path).strip() == "0x10de"
        and host.read(f"{posixpath.dirname(path)}/class").strip().startswith("0x0680")
    ]
    if not found:
        raise Absent("no NVSwitch on the PCI bus")
    return NvSwitches(addresses=tuple(found))


def _path(host: Host, address: str) -> CardPath:
    folder = f"{_BUS}/{address}"
    group = or_none(host.link, f"{folder}/iommu_group", reasons=NotKnown)
    number = posixpath.basename(group) if group else None
    node = _number(host, f"{folder}/numa_node")
    return CardPath(
        address=address,
        bridges=tuple(part for part in host.real(folder).split("/")[:-1] if _ADDRESS.fullmatch(part)),
        numa_node=node if node is not None and node >= 0 else None,
        iommu_group=number,
        iommu_type=_said(host, f"/sys/kernel/iommu_groups/{number}/type") if number else None,
        largest_bar_bytes=_largest(_said(host, f"{folder}/resource") or ""),
        aer_corrected=_total(host, f"{folder}/aer_dev_correctable"),
        aer_nonfatal=_total(host, f"{folder}/aer_dev_nonfatal"),
        aer_fatal=_total(host, f"{folder}/aer_dev_fatal"),
    )


def _bridge(host: Host, address: str) -> Bridge:
    folder = f"{_BUS}/{address}"
    space = or_none(host.hexdump, f"{folder}/config", reasons=NotKnown)
    return Bridge(
        address=address,
        link_width_max=lanes(_said(host, f"{folder}/max_link_width") or ""),
        link_mts_max=megatransfers(_said(host, f"{folder}/max_link_speed") or ""),
        acs=access_controls(bytes.fromhex(space)) if space else None,
    )


def access_controls(space: bytes) -> tuple[str, ...] | None:
    """Access controls that are on, from a device's configuration space (4096 bytes); empty where it has none.

    None where only the first 64 or 256 bytes were given: an ordinary user's view, or a device of plain PCI.
    """
    if len(space) <= _EXTENDED:
        return None
    for at, kind in _capabilities(space):
        if kind == _ACS:
            control = int.from_bytes(space[at + _CONTROL : at + _CONTROL + 2], "little")
            return tuple(name for bit, name in _ACS_BITS if control >> bit & 1)
    return ()


def _capabilities(space: bytes) -> Iterator[tuple[int, int]]:
    at, seen = _EXTENDED, set[int]()
    while _EXTENDED <= at <= len(space) - 8 and at not in seen:
        seen.add(at)
        head = int.from_bytes(space[at : at + 4], "little")
        yield at, head & 0xFFFF
        at = head >> 20


def _said(host: Host, path: str) -> str | None:
    text = or_none(host.read, path, reasons=NotKnown)
    return text.strip() if text else None


def _number(host: Host, path: str) -> int | None:
    text = _said(host, path)
    return int(text) if text and re.fullmatch(r"-?\d+", text) else None


def _total(host: Host, path: str) -> int | None:
    found = re.search(r"^TOTAL_ERR_\w+ (\d+)", _said(host, path) or "", re.MULTILINE)
    return int(found[1]) if found else None


def _largest(resources: str) -> int | None:
    sizes = []
    for line in resources.splitlines()[:6]:  # the six BARs; then ROM and bridge windows
        start, end, *_ = (int(word, 16) for word in line.split())
        sizes.append(end - start + 1 if end else 0)
    return max(sizes, default=0) or None
