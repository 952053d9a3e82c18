"""The wide GPU side of the healthy machine of conftest.py: two H100 cards without NVLink, as NVML and the bus tell them."""

from __future__ import annotations

import dataclasses
from typing import Any

from provision.fact import Absent
from provision.facts.gpu_links import GpuLinks, GpuPair, LinkedGpu, NvLink
from provision.facts.gpu_nodes import CdiDevices, CdiNode, DeviceNode, DeviceNodes, FabricManager, GpuModules
from provision.facts.gpu_state import (
    ConfidentialComputing,
    GpuClock,
    GpuClocks,
    GpuError,
    GpuErrors,
    GpuMode,
    GpuModes,
    GpuProcess,
    MigDevice,
)
from provision.facts.kernel_events import KernelEvent
from provision.facts.pci_paths import Bridge, CardPath, NvSwitches, PciPaths
from provision.facts.units import Unit

GIB = 1 << 30
_CLOCK = GpuClock(
    index=0,
    sm_mhz=345,
    sm_max_mhz=1980,
    memory_mhz=2619,
    memory_max_mhz=2619,
    reasons=("idle",),
    celsius=31,
    memory_celsius=40,
    shutdown_celsius=92,
    slowdown_celsius=89,
    memory_limit_celsius=95,
    limit_celsius=87,
    power_mw=70_000,
    power_limit_mw=700_000,
    power_default_mw=700_000,
    unread=(),
)
_ERROR = GpuError(
    index=0,
    ecc=True,
    ecc_pending=True,
    corrected_since_load=0,
    corrected_ever=0,
    uncorrected_since_load=0,
    uncorrected_ever=0,
    sram_threshold_exceeded=False,
    remapped_corrected=0,
    remapped_uncorrected=0,
    row_remap_pending=False,
    row_remap_failed=False,
    banks_without_spare_rows=0,
    retired_pages=0,
    retired_pending=False,
    pcie_replays=0,
    inforom_valid=True,
    recovery="none",
    unread=(),
)
_MODE = GpuMode(
    index=0,
    compute_mode="default",
    virtualization="none",
    licensed=None,
    bar1_bytes=128 * GIB,
    used_bytes=GIB,
    reserved_bytes=GIB // 2,
    mig_devices=(),
    processes=(),
    vbios="96.00.74.00.01",
    inforom="G520.0200.00.05",
    gsp_firmware="580.82.07",
    unread=(),
)
_LINK = NvLink(
    link=0,
    active=True,
    version=6,
    remote="switch",
    remote_address="0000:07:00.0",
    replay_errors=0,
    recovery_errors=0,
    crc_errors=0,
)
_LINKED = LinkedGpu(index=0, nvlinks=(), fabric_state="not supported", fabric_error=None, fabric_faults=(), unread=())
_PAIR = GpuPair(first=0, second=1, topology="NUMA node", peer_to_peer="ok", unread=())
_PATH = CardPath(
    address="0000:01:00.0",
    bridges=("0000:00:01.1",),
    numa_node=0,
    iommu_group="14",
    iommu_type="identity",
    largest_bar_bytes=128 * GIB,
    aer_corrected=0,
    aer_nonfatal=0,
    aer_fatal=0,
)
_BRIDGE = Bridge(address="0000:00:01.1", link_width_max=16, link_mts_max=32000, acs=())
_NODE = DeviceNode(path="/dev/nvidia0", major=195, minor=0, mode=0o666, uid=0, gid=0, may_use=True)
_CDI = CdiNode(
    path="/dev/nvidia0", spec="/var/run/cdi/nvidia.yaml", major=None, minor=None, found_major=195, found_minor=0
)


def _second(record: Any, **changes: Any) -> Any:
    return dataclasses.replace(record, index=1, **changes)


GPU_HEALTHY: dict[type, Any] = {
    type(one): one
    for one in (
        GpuClocks(gpus=(_CLOCK, _second(_CLOCK))),
        GpuErrors(gpus=(_ERROR, _second(_ERROR))),
        GpuModes(gpus=(_MODE, _second(_MODE))),
        GpuLinks(gpus=(_LINKED, _second(_LINKED)), pairs=(_PAIR,)),
        PciPaths(
            cards=(_PATH, dataclasses.replace(_PATH, address="0000:02:00.0", bridges=("0000:00:01.2",))),
            bridges=(_BRIDGE, dataclasses.replace(_BRIDGE, address="0000:00:01.2")),
            uptime_seconds=86_400.0,
        ),
        DeviceNodes(
            nodes=tuple(
                dataclasses.replace(_NODE, path=path, major=major, minor=minor)
                for path, major, minor in (
                    ("/dev/nvidia-uvm", 510, 0),
                    ("/dev/nvidia0", 195, 0),
                    ("/dev/nvidia1", 195, 1),
                    ("/dev/nvidiactl", 195, 255),
                )
            ),
            majors=(("nvidia", 195), ("nvidia-uvm", 510), ("nvidiactl", 195)),
            gpu_minors=(0, 1),
        ),
        GpuModules(
            loaded=("nvidia", "nvidia_modeset", "nvidia_uvm"),
            infiniband=(),
            modprobe_helper=False,
            profiling_for_all=False,
        ),
        CdiDevices(nodes=(_CDI,), lost_files=(), driver_versions=("580.82.07",)),
        ConfidentialComputing(on=None, environment=None, developer_tools=None, ready=None, unread=()),
        NvSwitches(addresses=("0000:07:00.0",)),
        FabricManager(version="580.82.07"),
        # records inside facts
        *(_CLOCK, _ERROR, _MODE, _LINK, _LINKED, _PAIR, _PATH, _BRIDGE, _NODE, _CDI),
        GpuProcess(pid=4242, kind="compute", memory_bytes=GIB),
        MigDevice(number=0, slices=3, memory_bytes=40 * GIB),
        KernelEvent(
            kind="gpu-off-the-bus", device="0000:01:00.0", times=1, first_seconds=9.0, last_seconds=9.0, text="said"
        ),
    )
}
FABRIC_UNIT = Unit(
    name="nvidia-fabricmanager.service", active=True, state="active", enabled="enabled", reload_needed=False
)
_NO_CARD = Absent("no NVIDIA card on the PCI bus")
GPU_ABSENT: dict[type, Any] = {
    kind: _NO_CARD
    for kind in (
        *(CdiDevices, ConfidentialComputing, DeviceNodes, FabricManager, GpuClocks, GpuErrors, GpuLinks),
        *(GpuModes, GpuModules, NvSwitches, PciPaths),
    )
}
