"""How the GPUs of one machine reach each other: NVLink by link, the NVSwitch fabric, and every pair. From NVML."""

from __future__ import annotations

from provision import codec
from provision.fact import Absent, Missing, fact, probe
from provision.facts.gpus import section
from provision.facts.pci import NvidiaCards
from provision.host import Host
from provision.record import record


@record
class NvLink:
    link: int
    active: bool  # an inactive link may just have nothing at its other end: a card without a bridge
    version: int | None  # NVML's own numbering, 7 is NVLink 5 on Blackwell; None while it is down
    remote: str | None  # "gpu", "switch", "cpu"
    remote_address: str | None  # "0000:41:00.0"
    replay_errors: int | None
    recovery_errors: int | None
    crc_errors: int | None


@record
class LinkedGpu:
    index: int
    nvlinks: tuple[NvLink, ...]  # empty: no NVLink on this card
    fabric_state: str | None  # "not supported", "not started", "in progress", "completed"; None: no fabric query
    fabric_error: str | None  # why the fabric came up wrong
    fabric_faults: tuple[str, ...] | None  # "degraded bandwidth", "route unhealthy" …
    unread: tuple[tuple[str, str], ...]


@record
class GpuPair:
    first: int
    second: int
    topology: str | None  # nearest common ancestor: "same board", "one switch", "host bridge", "NUMA node", "system"
    peer_to_peer: str | None  # "ok", or why one cannot read the other's memory: "chipset not supported" …
    unread: tuple[tuple[str, str], ...]
    nvlinks: int | None = None  # between the two, where a pasted topo -m says it; probes see them link by link


@fact
class GpuLinks:
    gpus: tuple[LinkedGpu, ...]  # by index; those that answer
    pairs: tuple[GpuPair, ...]  # every two of them once; empty with one GPU


@probe
def gpu_links(host: Host, cards: NvidiaCards | Absent | Missing) -> GpuLinks:
    """Every NVLink with its other end and its errors, the fabric's state, and what each two GPUs are to each other.

    Source: NVML, the same child process as ``Gpus``. The topology is that of ``nvidia-smi topo -m``.
    """
    found = {"gpus": section(host, cards, "links"), "pairs": section(host, cards, "pairs")}
    return codec.load(GpuLinks, found)
