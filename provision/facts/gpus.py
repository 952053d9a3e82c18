"""GPUs as the driver's management library (NVML) sees them."""

from __future__ import annotations

from typing import Any

from provision import codec
from provision.fact import Absent, Missing, fact, probe
from provision.facts.pci import NvidiaCards
from provision.host import Host
from provision.record import record


@record
class Gpu:
    """One GPU. None: this card or this mode does not have the query (NVML answers NOT_SUPPORTED).

    Of a GPU that nvidia-smi printed and no probe looked at, ``unread`` names what the text does not state.
    """

    index: int
    name: str  # "NVIDIA H100 80GB HBM3"
    uuid: str | None  # None: pasted, and not stated
    pci_address: str  # "0000:01:00.0", the same spelling as NvidiaCards
    memory_bytes: int | None  # None on unified-memory machines (GB10)
    memory_free_bytes: int | None
    compute_capability: str | None  # "9.0"; None: pasted, and the table does not have the model
    pcie_width: int | None
    pcie_width_max: int | None
    pcie_generation: int | None  # lower while idle
    pcie_generation_max: int | None
    mig_mode: bool | None
    mig_mode_pending: bool | None  # differs from mig_mode: a GPU reset is due
    persistence: bool | None
    process_count: int | None  # compute processes; other users' are counted too
    unread: tuple[tuple[str, str], ...] = ()  # (field, reason); a probe that cannot ask counts the GPU as lost


@record
class LostGpu:
    index: int
    reason: str  # "the GPU fell off the bus or is otherwise out of reach"


@fact
class Gpus:
    driver_version: str  # "580.82.07"
    cuda_version: str | None  # newest CUDA API of the driver, "13.0"; None: a pasted text without it
    gpus: tuple[Gpu, ...]  # by index; may be empty: the driver is loaded and drives nothing
    lost: tuple[LostGpu, ...]  # counted by the driver and not answering


@probe
def gpus(host: Host, cards: NvidiaCards | Absent | Missing) -> Gpus:
    """Every GPU that the driver drives, with its memory, its link and its modes.

    Source: the NVIDIA management library (NVML), asked in a child process that is killed after 2 s, and one second more
    for every further GPU. Where a card is on the bus and the driver or its library is not there, the GPUs are missing;
    without a card they are absent.
    """
    said = ask(host, cards)
    return codec.load(Gpus, {name: said[name] for name in ("driver_version", "cuda_version", "gpus", "lost")})


def ask(host: Host, cards: NvidiaCards | Absent | Missing) -> dict[str, Any]:
    """The child's whole answer: ``Gpus`` and the wide sections (``provision.facts.nvml_sections``)."""
    try:
        return host.nvml()
    except Absent as reason:
        if isinstance(cards, NvidiaCards):
            raise Missing(reason.reason) from None
        raise


def section(host: Host, cards: NvidiaCards | Absent | Missing, name: str) -> Any:
    """One wide section. Missing where the driver stopped answering before it was whole."""
    said = ask(host, cards)
    if name not in said:
        raise Missing(str(said.get("cut", f"the recorded answer of NVML has no section {name}")))
    return said[name]
