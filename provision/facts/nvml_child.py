"""A program of its own: asks the NVIDIA management library and prints one JSON object.

``{"driver_version": …, "cuda_version": …, "gpus": […], "lost": […]}``, or ``{"absent": reason}``, or ``{"missing": reason}``.
It runs in a child process because a sick driver can keep any of these calls for ever. It imports nothing of ours, and
its parent hands it over as text, so that it also runs out of a zipapp. Standard library and ``pynvml`` (nvidia-ml-py).
"""

from __future__ import annotations

import ctypes
import json
import sys
from typing import Any

# What the return codes mean for a user, from nvml.h and env_rules.md section 1. NOT_SUPPORTED (3) is no fault: None.
MEANINGS = {
    4: "permission denied by the NVIDIA driver",
    9: "the NVIDIA kernel module is not loaded",
    10: "the NVIDIA driver did not answer in time; look for Xid messages in the kernel log",
    11: "the kernel found an interrupt problem with the GPU (BIOS, PCIe slot or MSI)",
    12: "the NVIDIA management library (libnvidia-ml.so.1) is not installed",
    13: "the installed libnvidia-ml is older than this query",
    14: "the GPU's infoROM is damaged",
    15: "the GPU fell off the bus or is otherwise out of reach",
    16: "the GPU must be reset before it can be used again",
    17: "the operating system or a control group blocked the request",
    18: "the driver's library and the loaded kernel module are of different versions",
    20: "the NVIDIA management library ran out of memory",
    27: "the GPU system is not ready",
    999: "unknown error; in a container: its device nodes may have been taken away",
}
ABSENT = (9, 12)  # looked, and it is not there
NOT_SUPPORTED, FUNCTION_NOT_FOUND = 3, 13


def meaning(code: int) -> str:
    return MEANINGS.get(code, f"NVML error {code}")


def answer() -> dict[str, Any]:
    try:
        ctypes.CDLL("libnvidia-ml.so.1")  # before pynvml: most machines stop here, and pynvml takes 30 ms to import
    except OSError as error:
        if "cannot open shared object file: No such file" in str(error):
            return {"absent": MEANINGS[12]}
        return {"missing": f"the NVIDIA management library cannot be loaded: {error}"}
    try:
        import pynvml
    except ImportError:
        return {
            "missing": f"{sys.executable} has no pynvml (package nvidia-ml-py), which asks the NVIDIA management library"
        }
    try:
        pynvml.nvmlInit()
        return machine(pynvml)
    except pynvml.NVMLError as error:
        return {"absent" if error.value in ABSENT else "missing": meaning(error.value)}


def machine(nvml: Any) -> dict[str, Any]:
    gpus: list[dict[str, Any]] = []
    lost: list[dict[str, Any]] = []
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            gpus.append(gpu(nvml, index))
        except nvml.NVMLError as error:  # this one does not answer; its neighbours may
            lost.append({"index": index, "reason": meaning(error.value)})
    version = int(nvml.nvmlSystemGetCudaDriverVersion_v2())
    return {
        "driver_version": text(nvml.nvmlSystemGetDriverVersion()),
        "cuda_version": f"{version // 1000}.{version % 1000 // 10}",
        "gpus": gpus,
        "lost": lost,
    }


def gpu(nvml: Any, index: int) -> dict[str, Any]:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)

    def ask(name: str) -> Any:
        """The value; None where this card, mode or driver does not have the query."""
        try:
            return getattr(nvml, name)(handle)
        except nvml.NVMLError as error:
            if error.value in (NOT_SUPPORTED, FUNCTION_NOT_FOUND):
                return None
            raise

    memory = ask("nvmlDeviceGetMemoryInfo")
    mig = ask("nvmlDeviceGetMigMode")
    persistence = ask("nvmlDeviceGetPersistenceMode")
    processes = ask("nvmlDeviceGetComputeRunningProcesses")
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    return {
        "index": index,
        "name": text(nvml.nvmlDeviceGetName(handle)),
        "uuid": text(nvml.nvmlDeviceGetUUID(handle)),
        "pci_address": sysfs_address(text(nvml.nvmlDeviceGetPciInfo(handle).busId)),
        "memory_bytes": None if memory is None else int(memory.total),
        "memory_free_bytes": None if memory is None else int(memory.free),
        "compute_capability": f"{major}.{minor}",
        "pcie_width": ask("nvmlDeviceGetCurrPcieLinkWidth"),
        "pcie_width_max": ask("nvmlDeviceGetMaxPcieLinkWidth"),
        "pcie_generation": ask("nvmlDeviceGetCurrPcieLinkGeneration"),
        "pcie_generation_max": ask("nvmlDeviceGetMaxPcieLinkGeneration"),
        "mig_mode": None if mig is None else bool(mig[0]),
        "mig_mode_pending": None if mig is None else bool(mig[1]),
        "persistence": None if persistence is None else bool(persistence),
        "process_count": None if processes is None else len(processes),
    }


def text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def sysfs_address(address: str) -> str:
    """``00000000:01:00.0`` as /sys spells it: ``0000:01:00.0``."""
    domain, rest = address.lower().split(":", 1)
    return f"{int(domain, 16):04x}:{rest}"


def main() -> None:
    sys.path[0] = sys.argv[1]  # where the parent runs from, in place of the working directory, which anyone may fill
    sys.stdout.write(json.dumps(answer()))


if __name__ == "__main__":
    main()
