"""A program of its own: asks the NVIDIA management library and prints a JSON object a line.

First ``{"driver_version": …, "cuda_version": …, "gpus": […], "lost": […]}``, or ``{"absent": reason}``, or
``{"missing": reason}``; then one object for every wide section (``nvml_sections``), each as soon as it is whole: where
the driver stops answering halfway, what it has said already is kept. It runs in a child process because a sick driver
can keep any of these calls for ever, and its parent hands it over as text, so that it also runs out of a zipapp.
Standard library and ``pynvml`` (nvidia-ml-py).
"""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Iterator
from typing import Any

# What the return codes mean for a user, from the comments in nvml.h (nvidia-nvml-dev 12.9.79). NOT_SUPPORTED (3) is no
# fault: None.
MEANINGS = {
    1: "the NVIDIA management library was not initialised",
    2: "the NVIDIA management library refused the question",
    4: "permission denied by the NVIDIA driver",
    5: "the NVIDIA management library was initialised twice",
    6: "the NVIDIA driver did not find what was asked for",
    7: "the answer did not fit into its buffer",
    8: "the GPU's external power cables are not properly attached",
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
    19: "the GPU is in use",
    20: "the NVIDIA management library ran out of memory",
    21: "the NVIDIA driver has no data",
    22: "with ECC on, the GPU cannot be shared as asked",
    23: "the driver ran out of a resource other than memory",
    24: "this clock frequency is not supported",
    25: "the installed libnvidia-ml knows another version of this query",
    26: "the installed libnvidia-ml no longer has this query",
    27: "the GPU system is not ready",
    28: "the NVIDIA driver finds no GPU",
    29: "the GPU is in a state that allows no answer",
    30: "this kind of reset is not supported",
    999: "unknown error; in a container: its device nodes may have been taken away",
}
ABSENT = (9, 12)  # looked, and it is not there
NOT_SUPPORTED, FUNCTION_NOT_FOUND = 3, 13


def meaning(code: int) -> str:
    return MEANINGS.get(code, f"NVML error {code}")


def answers() -> Iterator[dict[str, Any]]:
    """The answer, and after it the wide sections where there is a driver that answers."""
    nvml, first = answer()
    yield first
    if nvml is not None:
        from provision.facts import nvml_sections

        yield from nvml_sections.sections(nvml, meaning)


def answer() -> tuple[Any, dict[str, Any]]:
    """pynvml, initialised, or None; and what it says of the machine, or why it says nothing."""
    try:
        ctypes.CDLL("libnvidia-ml.so.1")  # before pynvml: most machines stop here, and pynvml takes 30 ms to import
    except OSError as error:
        if "cannot open shared object file: No such file" in str(error):
            return None, {"absent": MEANINGS[12]}
        return None, {"missing": f"the NVIDIA management library cannot be loaded: {error}"}
    try:
        import pynvml
    except ImportError:
        why = f"{sys.executable} has no pynvml (package nvidia-ml-py), which asks the NVIDIA management library"
        return None, {"missing": why}
    try:
        pynvml.nvmlInit()
        return pynvml, machine(pynvml)
    except pynvml.NVMLError as error:
        return None, {"absent" if error.value in ABSENT else "missing": meaning(error.value)}


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
    for part in answers():
        sys.stdout.write(json.dumps(part) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
