"""The wide part of the NVML child: clocks, errors, modes and links of every GPU, in one pass.

Every record has ``unread``: (field, reason) for each query that failed with an error of its own. NOT_SUPPORTED is no
failure: this card, mode or driver does not have the thing, and the field is None. Runs in the child process only.
Functions and codes: nvml.h (nvidia-nvml-dev 12.9.79) through pynvml (nvidia-ml-py 13.615.71).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ctypes import byref
from typing import Any

INVALID_ARGUMENT, NOT_SUPPORTED, NOT_FOUND, FUNCTION_NOT_FOUND, CORRUPTED_INFOROM = 2, 3, 6, 13, 14
MAX_LINKS = 18  # NVLINK_MAX_LINKS of nvml.h 12.9; asked until the driver knows no further link
REASONS = (  # bits of nvmlClocksEventReasons, in nvml.h's order
    (0x1, "idle"),
    (0x2, "applications clocks setting"),
    (0x4, "software power cap"),
    (0x8, "hardware slowdown"),
    (0x10, "sync boost"),
    (0x20, "software thermal slowdown"),
    (0x40, "hardware thermal slowdown"),
    (0x80, "hardware power brake"),
    (0x100, "display clock setting"),
)
COMPUTE_MODES = {0: "default", 1: "exclusive thread", 2: "prohibited", 3: "exclusive process"}
VIRTUALIZATION = {0: "none", 1: "passthrough", 2: "vgpu", 3: "vgpu host", 4: "vsga host"}
FABRIC = {0: "not supported", 1: "not started", 2: "in progress", 3: "completed"}
# Bits of the fabric's health mask, two each: 1 says yes, 2 no, 0 not supported (NVML_GPU_FABRIC_HEALTH_MASK_SHIFT_*).
FABRIC_FAULTS = (
    (0, "degraded bandwidth"),
    (2, "route recovery"),
    (4, "route unhealthy"),
    (6, "access timeout recovery"),
)
RECOVERY = {
    0: "none",
    1: "reset the GPU",
    2: "reboot the node",
    3: "drain peer-to-peer traffic",
    4: "drain and reset the GPU",
    5: "recover the IMEX domain",
    6: "reset the bus",
    7: "reboot the system",
}
TOPOLOGY = {0: "same board", 10: "one switch", 20: "several switches", 30: "host bridge", 40: "NUMA node", 50: "system"}
P2P = {
    0: "ok",
    1: "chipset not supported",
    2: "GPU not supported",
    3: "topology not supported",
    4: "disabled by a driver setting",
    5: "not supported",
}
LINK_ENDS = {0: "gpu", 1: "cpu", 2: "switch"}


class Asker:
    """Asks one GPU and keeps why a question had no answer."""

    def __init__(self, nvml: Any, meaning: Callable[[int], str]) -> None:
        self._nvml, self.meaning = nvml, meaning
        self.unread: list[list[str]] = []

    def __call__(self, fields: str, functions: str, *args: Any) -> Any:
        """The value of the first of ``functions`` ("new old") that the driver has; None where there is no such thing
        here, or where ``unread`` says for each of ``fields`` why it was not read."""
        why = ""
        for function in functions.split():
            try:
                return getattr(self._nvml, function)(*args)
            except AttributeError:
                why = f"the installed nvidia-ml-py has no {function}"
            except self._nvml.NVMLError as error:
                if error.value == NOT_SUPPORTED:
                    return None
                why = self.meaning(error.value)
                if error.value != FUNCTION_NOT_FOUND:
                    break
        self.unread += [[name, why] for name in fields.split()]
        return None


def sections(nvml: Any, meaning: Callable[[int], str]) -> Iterator[dict[str, Any]]:
    """One dictionary a section. A GPU that gives no handle is left out: ``lost`` of the first answer names it."""
    handles = []
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            handles.append((index, nvml.nvmlDeviceGetHandleByIndex(index)))
        except nvml.NVMLError:
            continue
    for name, look in (("clocks", clocks), ("errors", errors), ("modes", modes), ("links", links)):
        found = []
        for index, handle in handles:
            ask = Asker(nvml, meaning)
            found.append({"index": index, **look(ask, nvml, handle), "unread": ask.unread})
        yield {name: found}
    yield {"pairs": [pair(nvml, meaning, a, b) for n, a in enumerate(handles) for b in handles[n + 1 :]]}
    ask = Asker(nvml, meaning)
    state = ask("confidential_computing", "nvmlSystemGetConfComputeState")
    ready = ask("ready", "nvmlSystemGetConfComputeGpusReadyState") if state is not None and state.ccFeature else None
    yield {
        "confidential": {
            "on": None if state is None else bool(state.ccFeature),
            "environment": None if state is None else {1: "simulation", 2: "production"}.get(state.environment, "none"),
            "developer_tools": None if state is None else bool(state.devToolsMode),
            "ready": None if ready is None else bool(ready),
            "unread": ask.unread,
        }
    }


def clocks(ask: Asker, nvml: Any, gpu: Any) -> dict[str, Any]:
    fields = [nvml.NVML_FI_DEV_MEMORY_TEMP]
    hot = ask("memory_celsius", "nvmlDeviceGetFieldValues", gpu, fields)
    mask = ask("reasons", "nvmlDeviceGetCurrentClocksEventReasons nvmlDeviceGetCurrentClocksThrottleReasons", gpu)
    return {
        "sm_mhz": ask("sm_mhz", "nvmlDeviceGetClockInfo", gpu, nvml.NVML_CLOCK_SM),
        "sm_max_mhz": ask("sm_max_mhz", "nvmlDeviceGetMaxClockInfo", gpu, nvml.NVML_CLOCK_SM),
        "memory_mhz": ask("memory_mhz", "nvmlDeviceGetClockInfo", gpu, nvml.NVML_CLOCK_MEM),
        "memory_max_mhz": ask("memory_max_mhz", "nvmlDeviceGetMaxClockInfo", gpu, nvml.NVML_CLOCK_MEM),
        "reasons": None if mask is None else [name for bit, name in REASONS if mask & bit],
        "celsius": ask("celsius", "nvmlDeviceGetTemperatureV nvmlDeviceGetTemperature", gpu, nvml.NVML_TEMPERATURE_GPU),
        "memory_celsius": field_value(hot, 0) or None,  # 0: the card has no such sensor
        **{
            name: ask(name, "nvmlDeviceGetTemperatureThreshold", gpu, which)
            for which, name in enumerate(
                ("shutdown_celsius", "slowdown_celsius", "memory_limit_celsius", "limit_celsius")
            )
        },
        "power_mw": ask("power_mw", "nvmlDeviceGetPowerUsage", gpu),
        "power_limit_mw": ask("power_limit_mw", "nvmlDeviceGetEnforcedPowerLimit", gpu),
        "power_default_mw": ask("power_default_mw", "nvmlDeviceGetPowerManagementDefaultLimit", gpu),
    }


def errors(ask: Asker, nvml: Any, gpu: Any) -> dict[str, Any]:
    ecc = ask("ecc ecc_pending", "nvmlDeviceGetEccMode", gpu)
    rows = ask(
        "remapped_corrected remapped_uncorrected row_remap_pending row_remap_failed", "nvmlDeviceGetRemappedRows", gpu
    )
    spare = ask("banks_without_spare_rows", "nvmlDeviceGetRowRemapperHistogram", gpu)
    sram = _filled(ask, nvml, "sram_threshold_exceeded", "nvmlDeviceGetSramEccErrorStatus", gpu)
    retired = [ask("retired_pages", "nvmlDeviceGetRetiredPages", gpu, cause) for cause in (0, 1)]
    advice = ask("recovery", "nvmlDeviceGetFieldValues", gpu, [nvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION])
    pending = ask("retired_pending", "nvmlDeviceGetRetiredPagesPendingStatus", gpu)
    action = field_value(advice, 0)
    return {
        "ecc": None if ecc is None else bool(ecc[0]),
        "ecc_pending": None if ecc is None else bool(ecc[1]),
        **{
            f"{name}_{span}": ask(f"{name}_{span}", "nvmlDeviceGetTotalEccErrors", gpu, kind, counter)
            for kind, name in enumerate(("corrected", "uncorrected"))
            for counter, span in enumerate(("since_load", "ever"))
        },
        "sram_threshold_exceeded": None if sram is None else bool(sram.bThresholdExceeded),
        "remapped_corrected": None if rows is None else rows[0],
        "remapped_uncorrected": None if rows is None else rows[1],
        "row_remap_pending": None if rows is None else bool(rows[2]),
        "row_remap_failed": None if rows is None else bool(rows[3]),
        "banks_without_spare_rows": None if spare is None else spare.none,
        "retired_pages": None if None in retired else sum(map(len, retired)),
        "retired_pending": None if pending is None else bool(pending),
        "pcie_replays": ask("pcie_replays", "nvmlDeviceGetPcieReplayCounter", gpu),
        "inforom_valid": inforom_valid(ask, nvml, gpu),
        "recovery": None if action is None else RECOVERY.get(action, f"action {action}"),
    }


def inforom_valid(ask: Asker, nvml: Any, gpu: Any) -> bool | None:
    """The answer is the return code: success, or this one error."""
    try:
        nvml.nvmlDeviceValidateInforom(gpu)
    except nvml.NVMLError as error:
        if error.value == CORRUPTED_INFOROM:
            return False
        if error.value != NOT_SUPPORTED:
            ask.unread.append(["inforom_valid", ask.meaning(error.value)])
        return None
    return True


def modes(ask: Asker, nvml: Any, gpu: Any) -> dict[str, Any]:
    bar1 = ask("bar1_bytes", "nvmlDeviceGetBAR1MemoryInfo", gpu)
    memory = ask("used_bytes reserved_bytes", "nvmlDeviceGetMemoryInfo", gpu, nvml.nvmlMemory_v2)
    virtual = ask("virtualization", "nvmlDeviceGetVirtualizationMode", gpu)
    mode = ask("compute_mode", "nvmlDeviceGetComputeMode", gpu)
    mig = ask("mig_devices", "nvmlDeviceGetMigMode", gpu)
    kinds = (("compute", "nvmlDeviceGetComputeRunningProcesses"), ("graphics", "nvmlDeviceGetGraphicsRunningProcesses"))
    running = [(kind, ask("processes", name, gpu)) for kind, name in kinds]
    licence = ask("licensed", "nvmlDeviceGetGridLicensableFeatures_v4", gpu) if virtual == nvml_vgpu(nvml) else None
    return {
        "compute_mode": None if mode is None else COMPUTE_MODES.get(mode, f"mode {mode}"),
        "virtualization": None if virtual is None else VIRTUALIZATION.get(virtual, f"mode {virtual}"),
        "licensed": None if licence is None else any(f.featureState for f in list(licence.gridLicensableFeatures)[:3]),
        "bar1_bytes": None if bar1 is None else bar1.bar1Total,
        "used_bytes": None if memory is None else memory.used,
        "reserved_bytes": None if memory is None else memory.reserved,
        "mig_devices": None if mig is None else mig_devices(ask, nvml, gpu) if mig[0] else [],
        "processes": None
        if all(found is None for _, found in running)
        else [
            {"pid": one.pid, "kind": kind, "memory_bytes": one.usedGpuMemory}
            for kind, found in running
            for one in found or ()
        ],
        "vbios": _text(ask("vbios", "nvmlDeviceGetVbiosVersion", gpu)),
        "inforom": _text(ask("inforom", "nvmlDeviceGetInforomImageVersion", gpu)),
        "gsp_firmware": _text(ask("gsp_firmware", "nvmlDeviceGetGspFirmwareVersion", gpu)),
    }


def mig_devices(ask: Asker, nvml: Any, gpu: Any) -> list[dict[str, Any]]:
    found = []
    for number in range(ask("mig_devices", "nvmlDeviceGetMaxMigDeviceCount", gpu) or 0):
        try:
            handle = nvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, number)
        except nvml.NVMLError as error:
            if error.value != NOT_FOUND:  # else: no device of this number
                ask.unread.append(["mig_devices", ask.meaning(error.value)])
            continue
        size = ask("mig_devices", "nvmlDeviceGetAttributes_v2", handle)
        found.append(
            {
                "number": number,
                "slices": None if size is None else size.gpuInstanceSliceCount,
                "memory_bytes": None if size is None else size.memorySizeMB << 20,
            }
        )
    return found


def links(ask: Asker, nvml: Any, gpu: Any) -> dict[str, Any]:
    fabric = _filled(ask, nvml, "fabric_state fabric_error fabric_faults", "nvmlDeviceGetGpuFabricInfoV", gpu)
    found = []
    for link in range(MAX_LINKS):
        try:
            active = bool(nvml.nvmlDeviceGetNvLinkState(gpu, link))
        except nvml.NVMLError as error:
            if error.value not in (NOT_SUPPORTED, INVALID_ARGUMENT):  # else: the card has no further link
                ask.unread.append(["nvlinks", ask.meaning(error.value)])
            break
        end = ask("nvlinks", "nvmlDeviceGetNvLinkRemoteDeviceType", gpu, link) if active else None
        remote = ask("nvlinks", "nvmlDeviceGetNvLinkRemotePciInfo", gpu, link) if active else None
        counts = [
            ask("link_errors", "nvmlDeviceGetNvLinkErrorCounter", gpu, link, c) if active else None for c in (0, 1, 2)
        ]
        found.append(
            {
                "link": link,
                "active": active,
                "version": ask("nvlinks", "nvmlDeviceGetNvLinkVersion", gpu, link) if active else None,
                "remote": None if end is None else LINK_ENDS.get(end, "unknown"),
                "remote_address": None if remote is None else _text(remote.busId).lower()[4:],
                "replay_errors": counts[0],
                "recovery_errors": counts[1],
                "crc_errors": counts[2],
            }
        )
    mask = None if fabric is None else fabric.healthMask
    return {
        "nvlinks": found,
        "fabric_state": None if fabric is None else FABRIC.get(fabric.state, f"state {fabric.state}"),
        "fabric_error": None if fabric is None or not fabric.status else ask.meaning(fabric.status),
        "fabric_faults": None if mask is None else [name for shift, name in FABRIC_FAULTS if mask >> shift & 3 == 1],
    }


def pair(nvml: Any, meaning: Callable[[int], str], one: tuple[int, Any], other: tuple[int, Any]) -> dict[str, Any]:
    ask = Asker(nvml, meaning)
    level = ask("topology", "nvmlDeviceGetTopologyCommonAncestor", one[1], other[1])
    read = ask("peer_to_peer", "nvmlDeviceGetP2PStatus", one[1], other[1], 0)  # 0: NVML_P2P_CAPS_INDEX_READ
    return {
        "first": one[0],
        "second": other[0],
        "topology": None if level is None else TOPOLOGY.get(level, f"level {level}"),
        "peer_to_peer": None if read is None else P2P.get(read, "unknown"),
        "unread": ask.unread,
    }


def nvml_vgpu(nvml: Any) -> int:
    return int(nvml.NVML_GPU_VIRTUALIZATION_MODE_VGPU)


def field_value(values: Any, place: int) -> int | None:
    """A field's unsigned value; None where the driver has no such field."""
    return None if values is None or values[place].nvmlReturn else int(values[place].value.uiVal)


STRUCTS = {
    "nvmlDeviceGetSramEccErrorStatus": "c_nvmlEccSramErrorStatus_v1_t",
    "nvmlDeviceGetGpuFabricInfoV": "c_nvmlGpuFabricInfo_v2_t",
}


def _filled(ask: Asker, nvml: Any, field: str, function: str, gpu: Any) -> Any:
    """For the functions that fill a struct of the caller's: the struct, or None."""
    try:
        struct = getattr(nvml, STRUCTS[function])()
    except AttributeError:
        ask.unread.append([field, f"the installed nvidia-ml-py has no {STRUCTS[function]}"])
        return None
    return None if ask(field, function, gpu, byref(struct)) is None else struct


def _text(value: str | bytes | None) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
