"""How the GPUs are: clocks and heat, memory errors, modes and who uses them. From NVML.

In every record None says that this card or mode has no such thing (NVML answers NOT_SUPPORTED), unless ``unread`` names
the field: then the question failed, for the reason beside it.
"""

from __future__ import annotations

from provision import codec
from provision.fact import Absent, Missing, fact, probe
from provision.facts.gpus import section
from provision.facts.pci import NvidiaCards
from provision.host import Host
from provision.record import record


@record
class GpuClock:
    index: int
    sm_mhz: int | None  # now; an idle GPU clocks down
    sm_max_mhz: int | None
    memory_mhz: int | None
    memory_max_mhz: int | None
    reasons: (
        tuple[str, ...] | None
    )  # why the clocks are not higher: "idle", "software power cap", "hardware slowdown" …
    celsius: int | None
    memory_celsius: int | None  # of the HBM; None on cards without that sensor
    shutdown_celsius: int | None
    slowdown_celsius: int | None  # here the hardware begins to slow down
    memory_limit_celsius: int | None
    limit_celsius: int | None  # the hottest that software lets it become
    power_mw: int | None
    power_limit_mw: int | None  # the one in force, whoever set it
    power_default_mw: int | None
    unread: tuple[tuple[str, str], ...]


@fact
class GpuClocks:
    gpus: tuple[GpuClock, ...]  # by index; those that answer


@record
class GpuError:
    """Counts of one GPU. ``since_load``: since the driver was loaded; ``ever``: in the life of the card."""

    index: int
    ecc: bool | None
    ecc_pending: bool | None  # differs from ecc: a reboot is due
    corrected_since_load: int | None
    corrected_ever: int | None
    uncorrected_since_load: int | None
    uncorrected_ever: int | None
    sram_threshold_exceeded: bool | None  # the driver's own judgement of the SRAM's uncorrected errors
    remapped_corrected: int | None  # rows replaced after many corrected errors
    remapped_uncorrected: int | None
    row_remap_pending: bool | None  # takes effect at the next reset
    row_remap_failed: bool | None
    banks_without_spare_rows: int | None
    retired_pages: int | None  # the older way, up to Volta and Turing
    retired_pending: bool | None
    pcie_replays: int | None
    inforom_valid: bool | None
    recovery: str | None  # what the driver itself asks for: "none", "reset the GPU", "reboot the node" …
    unread: tuple[tuple[str, str], ...]


@fact
class GpuErrors:
    gpus: tuple[GpuError, ...]


@record
class MigDevice:
    number: int
    slices: int | None  # of the GPU's compute slices
    memory_bytes: int | None


@record
class GpuProcess:
    pid: int  # as the host numbers processes
    kind: str  # "compute" or "graphics"
    memory_bytes: int | None  # None: the driver does not say (another container's process, MIG)


@record
class GpuMode:
    index: int
    compute_mode: str | None  # "default", "exclusive process", "prohibited"
    virtualization: str | None  # "none", "passthrough", "vgpu", "vgpu host"
    licensed: bool | None  # of a vGPU; None on everything else
    bar1_bytes: int | None  # the window through which others reach its memory
    used_bytes: int | None  # without what the driver reserves
    reserved_bytes: int | None
    mig_devices: tuple[MigDevice, ...] | None  # empty: MIG is off, or on without a device; Gpu.mig_mode tells
    processes: tuple[GpuProcess, ...] | None
    vbios: str | None
    inforom: str | None
    gsp_firmware: str | None  # None: the GPU runs without GSP firmware
    unread: tuple[tuple[str, str], ...]


@fact
class GpuModes:
    gpus: tuple[GpuMode, ...]


@fact
class ConfidentialComputing:
    """Of the whole system; every GPU of a machine is in one mode. None: these GPUs or this driver have no such thing."""

    on: bool | None
    environment: str | None  # "none", "simulation", "production"
    developer_tools: bool | None  # True: debuggers may look in, nothing is protected
    ready: bool | None  # GPUs take work; None where it is off
    unread: tuple[tuple[str, str], ...]


@probe
def gpu_clocks(host: Host, cards: NvidiaCards | Absent | Missing) -> GpuClocks:
    """Clocks, temperatures and power of every GPU now, with their limits and what holds the clocks down.

    Source: NVML, the same child process as ``Gpus``.
    """
    return codec.load(GpuClocks, {"gpus": section(host, cards, "clocks")})


@probe
def gpu_errors(host: Host, cards: NvidiaCards | Absent | Missing) -> GpuErrors:
    """Memory errors of every GPU and what was done about them, its infoROM, and the driver's own advice.

    Source: NVML, the same child process as ``Gpus``.
    """
    return codec.load(GpuErrors, {"gpus": section(host, cards, "errors")})


@probe
def gpu_modes(host: Host, cards: NvidiaCards | Absent | Missing) -> GpuModes:
    """Compute mode, MIG devices, virtualisation, firmware, and the processes that hold memory on every GPU.

    Source: NVML, the same child process as ``Gpus``.
    """
    return codec.load(GpuModes, {"gpus": section(host, cards, "modes")})


@probe
def confidential_computing(host: Host, cards: NvidiaCards | Absent | Missing) -> ConfidentialComputing:
    """Whether the GPUs run in confidential-computing mode, and how far that goes.

    Source: NVML, the same child process as ``Gpus``. Only an attestation report proves the mode; this is what the driver
    says of itself.
    """
    return codec.load(ConfidentialComputing, section(host, cards, "confidential"))
