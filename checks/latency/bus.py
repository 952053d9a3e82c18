"""The PCIe bus below the GPUs: slots, lanes, processors, access controls, the network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from provision.check import ERROR, NOTE, WARNING, Finding, NotApplicable, check
from provision.checks._gpus import over_nvlink, several
from provision.checks._pasted import MaybeStated, lanes
from provision.checks._words import counted, listed
from provision.fact import Absent, Missing
from provision.facts.driver import NvidiaDriver
from provision.facts.gpu_links import GpuLinks
from provision.facts.gpu_nodes import GpuModules
from provision.facts.gpus import Gpus
from provision.facts.pci import NvidiaCards
from provision.facts.pci_paths import PciPaths
from provision.facts.stated import Stated
from provision.facts.system import System
from provision.spec import Spec

_REDIRECTS = {"request redirect", "completion redirect"}


def _slots_below_cards(cards: NvidiaCards, paths: PciPaths, field: str, how: str) -> list[tuple[str, int, int]]:
    """(address, ``field`` of the bridge it is plugged into, ``field`` of the card) of every card that has more of it."""
    bridges = {bridge.address: bridge for bridge in paths.bridges}
    last = {path.address: path.bridges[-1] for path in paths.cards if path.bridges}
    both = [
        (card.address, getattr(bridges[last[card.address]], field), getattr(card, field))
        for card in cards.cards
        if last.get(card.address) in bridges
    ]
    known = [(address, slot, most) for address, slot, most in both if slot and most]
    if not known:
        raise NotApplicable(f"the bus does not say how {how} the slots are, as in most virtual machines")
    return [(address, slot, most) for address, slot, most in known if slot < most]


@check("LAT025", NOTE, cause="pcie-link-degraded")
def slot_narrower_than_card(cards: NvidiaCards, paths: PciPaths) -> Iterator[Finding]:
    """A card sits in a slot with fewer PCIe lanes than it has.

    The slot's port is wired for fewer lanes, or the firmware splits it. Reseating the card changes nothing then; another
    slot, or another setting of bifurcation, does.

    ## Fix
    Use a slot with all lanes; the board's manual says which.

    ## Proof
    None of its own: the widths are read from the bus. STO-P1 shows what loading takes.
    """
    for address, slot, card in _slots_below_cards(cards, paths, "link_width_max", "wide"):
        yield Finding(
            f"{address} has {card} PCIe lanes, its slot {slot}",
            measured={"address": address, "slot_width": slot},
            needed={"slot_width": card},
            fix=(f"lspci -tv; lspci -vv -s {address} | grep -e LnkCap -e LnkSta",),
        )


@check("LAT026", NOTE, cause="pcie-link-degraded")
def slot_of_an_older_generation(cards: NvidiaCards, paths: PciPaths) -> Iterator[Finding]:
    """A card sits in a slot of an older PCIe generation than its own.

    Each generation has half the rate of the next. What goes over the bus (loading weights, offloading, GPUs without NVLink)
    is held to the slot's. The maximum of both ends is compared; the speed at the moment, which idle cards lower, is not.

    ## Fix
    Look in the firmware for a slot held to an older generation; some risers need that. Otherwise it is the machine.

    ## Proof
    None of its own: the rates are read from the bus. STO-P1 shows what loading takes.
    """
    for address, slot, card in _slots_below_cards(cards, paths, "link_mts_max", "fast"):
        yield Finding(
            f"{address} is made for {card / 1000:g} GT/s a lane, its slot for {slot / 1000:g}",
            measured={"address": address, "slot_mts": slot},
            needed={"slot_mts": card},
            fix=(f"lspci -vv -s {address} | grep -e LnkCap -e LnkSta",),
        )


@check("LAT027", ERROR, cause="gpu-not-as-expected")
def fewer_lanes_than_expected(
    cards: NvidiaCards | Missing, gpus: Gpus | Missing, stated: MaybeStated, spec: Spec
) -> Iterator[Finding]:
    """A card runs on fewer PCIe lanes than provision.toml expects.

    `[expect] link_width` states what the machines of a fleet must have.

    ## Fix
    Seat the card and its riser again, or correct provision.toml.

    ## Proof
    None of its own: the width is read from the bus. STO-P1 shows what loading takes.
    """
    wanted = spec.expect.link_width
    if wanted is None:
        raise NotApplicable("provision.toml expects no particular number of PCIe lanes")
    widths = [(address, now) for address, now, _ in lanes(cards, gpus, stated)]
    unknown = [address for address, now in widths if now is None]
    less = [(address, now) for address, now in widths if now is not None and now < wanted]
    if unknown and not less:
        raise Missing(f"the bus does not say the width of {unknown[0]}")
    for address, now in less:
        yield Finding(
            f"{address} runs on {now} PCIe lanes; provision.toml expects {wanted}",
            measured={"address": address, "link_width": now},
            needed={"link_width": wanted},
            fix=(f"lspci -vv -s {address} | grep -e LnkCap -e LnkSta",),
        )


@check("LAT028", NOTE, cause="numa-or-cpu-governor")
def gpus_on_different_numa_nodes(
    paths: PciPaths | Missing, links: GpuLinks | Absent | Missing, stated: MaybeStated
) -> Iterator[Finding]:
    """GPUs hang on different processors, and no NVLink joins them.

    What they say to each other crosses the link between the processors, which is slower than the bus and shared with
    everything else; many drivers offer no direct access that way at all.

    ## Fix
    Give one engine GPUs of one processor, and bind it there.

    ## Proof
    None of its own: it is a statement about the machine. `provision doctor --select LAT028` reads it again.
    """
    if isinstance(paths, Missing):
        yield from _across_processors(paths, links, stated)
        return
    several(len(paths.cards))
    if over_nvlink(links):
        raise NotApplicable("NVLink joins the GPUs")
    nodes = Counter(card.numa_node for card in paths.cards if card.numa_node is not None)
    if not nodes:
        raise NotApplicable("the firmware does not say where the cards hang")
    if len(nodes) > 1:
        yield Finding(
            listed(f"{counted(count, 'GPU')} on NUMA node {node}" for node, count in sorted(nodes.items())),
            measured={"numa_nodes": {str(node): count for node, count in sorted(nodes.items())}},
            needed={"numa_nodes": 1},
            fix=("nvidia-smi topo -m", "numactl --cpunodebind=N --membind=N …"),
        )


def _across_processors(paths: Missing, links: GpuLinks | Absent | Missing, stated: MaybeStated) -> Iterator[Finding]:
    """As a pasted ``nvidia-smi topo -m`` tells it, which says "SYS" of two GPUs on different processors."""
    if not isinstance(stated, Stated) or not isinstance(links, GpuLinks):
        raise paths
    several(len(links.gpus))
    if over_nvlink(links):
        raise NotApplicable("NVLink joins the GPUs")
    unread = next((reason for pair in links.pairs for name, reason in pair.unread if name == "topology"), None)
    across = [pair for pair in links.pairs if pair.topology == "system"]
    if unread and not across:
        raise Missing(unread)
    if across:
        yield Finding(
            f"what GPU {across[0].first} and GPU {across[0].second} say to each other crosses from processor to processor"
            + (f", and so it is with {counted(len(across) - 1, 'further pair')}" if len(across) > 1 else ""),
            measured={"pairs": [[pair.first, pair.second] for pair in across]},
            needed={"pairs": []},
            fix=("nvidia-smi topo -m", "numactl --cpunodebind=N --membind=N …"),
        )


@check("LAT033", WARNING, cause="iommu-acs-hang")
def access_controls_redirect_peers(
    paths: PciPaths, system: System, links: GpuLinks | Absent | Missing
) -> Iterator[Finding]:
    """PCIe access controls send what GPUs say to each other through the processor.

    With request or completion redirect (ACS) on a bridge above a GPU, direct traffic between cards is turned towards the
    root port: NCCL becomes slow, hangs after its start, or moves wrong data. Virtual machines need these controls; a
    machine that runs models itself does not.

    ## Fix
    Switch ACS off in the firmware, or with setpci at every start for these bridges.

    ## Proof
    None yet: the smoke test uses one GPU. `provision doctor --select LAT033` reads the bridges again (as root).
    """
    several(len(paths.cards))
    if system.virtualization != "none":
        raise NotApplicable("in a virtual machine the host decides this")
    if over_nvlink(links):
        raise NotApplicable("NVLink joins the GPUs, so that little goes over the bus")
    redirecting = [b.address for b in paths.bridges if b.acs and _REDIRECTS & set(b.acs)]
    closed = [b.address for b in paths.bridges if b.acs is None]
    if not redirecting and closed:
        raise Missing(f"the configuration space of {closed[0]} can be read only by root")
    if redirecting:
        yield Finding(
            f"{counted(len(redirecting), 'bridge')} above the GPUs redirect{'s' if len(redirecting) == 1 else ''} their "
            f"traffic: {listed(redirecting)}",
            measured={"bridges": redirecting},
            needed={"bridges": []},
            fix=(
                "lspci -vvv | grep -e '^[0-9a-f]' -e ACSCtl",
                *(f"setpci -s {a} ECAP_ACS+0x6.w=0000" for a in redirecting[:4]),
            ),
        )


@check("LAT034", WARNING, cause="iommu-acs-hang")
def iommu_translates_for_gpus(paths: PciPaths, system: System, links: GpuLinks | Absent | Missing) -> Iterator[Finding]:
    """The IOMMU translates what several GPUs write to each other.

    Translated, direct traffic between cards on PCIe must go through the processor's IOMMU: NCCL becomes slow or hangs after
    its start. Passed through (`iommu=pt`) the devices keep their direct way, and virtual machines can still be made.

    ## Fix
    Add iommu=pt to the kernel's command line and reboot, or switch the IOMMU off in the firmware.

    ## Proof
    None yet: the smoke test uses one GPU. `provision doctor --select LAT034` reads the groups again.
    """
    several(len(paths.cards))
    if system.virtualization != "none":
        raise NotApplicable("in a virtual machine the host decides this")
    if over_nvlink(links):
        raise NotApplicable("NVLink joins the GPUs, so that little goes over the bus")
    translated = [card for card in paths.cards if (card.iommu_type or "").startswith("DMA")]
    unknown = [card for card in paths.cards if card.iommu_group is not None and card.iommu_type is None]
    if unknown and not translated:
        raise Missing(f"the kernel does not say how IOMMU group {unknown[0].iommu_group} works")
    if translated:
        yield Finding(
            f"the IOMMU translates for {counted(len(translated), 'GPU')} ({translated[0].iommu_type}): "
            f"{listed(card.address for card in translated)}",
            measured={"translated": [card.address for card in translated]},
            needed={"iommu_type": "identity"},
            fix=("grep -o 'iommu=[^ ]*' /proc/cmdline   # then add iommu=pt in /etc/default/grub and run update-grub",),
        )


@check("LAT035", WARNING, cause="direct-network-transfers-off")
def network_cannot_reach_gpu_memory(modules: GpuModules, driver: NvidiaDriver, gpus: Gpus) -> Iterator[Finding]:
    """InfiniBand or RoCE cards are here, and the module that lets them reach GPU memory is not loaded.

    Without nvidia-peermem every message between machines takes a detour through main memory. The open kernel modules have
    another way (dma-buf), which recent NCCL uses by itself, so there nothing is reported.

    ## Fix
    Load nvidia-peermem, now and at every start.

    ## Proof
    None: it matters between machines, and this road provisions one.
    """
    if not modules.infiniband:
        raise NotApplicable("no InfiniBand or RoCE card is here")
    if driver.flavour == "open":
        raise NotApplicable("the open kernel modules hand memory over through dma-buf")
    if not {"nvidia_peermem", "nv_peer_mem"} & set(modules.loaded):
        yield Finding(
            f"{listed(modules.infiniband)} and {counted(len(gpus.gpus), 'GPU')} are here; nvidia-peermem is not loaded",
            measured={"infiniband": list(modules.infiniband), "loaded": list(modules.loaded)},
            needed={"loaded": ["nvidia_peermem"]},
            fix=("modprobe nvidia-peermem", "echo nvidia-peermem > /etc/modules-load.d/nvidia-peermem.conf"),
        )
