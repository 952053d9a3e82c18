"""What beside them settles messages about the driver, the card and how a container was given it."""

from __future__ import annotations

from provision.catalog import tables
from provision.checks._said import Case, Certainty, Said, Settle
from provision.facts.stated import Stated


def wsl(stated: Stated) -> bool:
    """Whether the stated system is the Windows Subsystem for Linux."""
    return "wsl" in f"{stated.os_name} {stated.kernel}".lower() or "microsoft" in (stated.kernel or "").lower()


def _system_driver_mismatch(case: Case) -> list[Said]:
    """803: where NVML complains too, library and module differ; else only the libcuda is odd: a copy in the way."""
    if case.heard & {"versions-differ", "nvml-code"}:
        return [case.one("nvml-driver-library-mismatch", "certain")]
    return [
        case.one("compat-package-shadow", "certain"),
        case.one("nvml-driver-library-mismatch", "likely"),
    ]


def _no_device(case: Case) -> list[Said]:
    """No device on WSL is WSL's libcuda not being found; a driver that says it is not there leaves nothing to hide."""
    if wsl(case.stated):
        return [case.one("wsl2-specific", "certain")]
    if case.heard & {"smi-cannot-reach-driver", "nvml-driver-not-loaded", "torch-found-no-driver", "libcuda-absent"}:
        return []
    # torch says "No CUDA GPUs are available" only where a driver answered and counted none.
    hidden = "no cuda gpus" in case.symptom.text.lower() or bool(case.stated.gpus or case.stated.driver_version)
    hidden = hidden or "CUDA_VISIBLE_DEVICES" in dict(case.stated.env)
    return [
        case.one("cuda-visible-devices-or-mig", "certain" if hidden else "likely"),
        case.one("driver-not-loaded", "possible"),
    ]


def _no_driver(case: Case) -> list[Said]:
    """Where nvidia-smi named the driver the machine has one: a program that sees none is in a container without it."""
    if wsl(case.stated):
        return [case.one("wsl2-specific", "certain")]
    if (
        case.heard & {"docker-no-gpu-driver", "container-cli-library", "ngc-driver-not-detected"}
        or case.stated.driver_version
    ):
        return [case.one("container-gpu-runtime-missing", "certain")]
    return [case.one(case.rule.cause, "certain")]


def _probe_failed(case: Case) -> list[Said]:
    """A driver does not take a card that has left the bus: the card is the cause, the refusal its symptom."""
    return [case.one(case.rule.cause, "possible")] if "gpu-lost" in case.heard else case.as_it_stands()


def _xid(case: Case) -> list[Said]:
    """The vendor's table says whether a code is the card, its memory, the links, or a program."""
    code = int(case.captures["code"])
    row = tables.xids().get(code)
    if row is None:
        return [case.one("xid-hardware", "possible")]
    if code in (48, 63, 64, 92, 94, 95):
        return [case.one("ecc-error", "certain")]
    if row.kind == "information":
        return []
    if row.kind == "program":
        return [case.one("gpu-program-fault", "possible")]
    return [case.one("xid-hardware", "certain")]


# nvmlReturn_t in nvml.h. Programs that load NVML themselves (Ollama, Go's bindings) print the number only.
_NVML: dict[int, tuple[str, Certainty]] = {
    4: ("container-lost-gpu-cgroup", "likely"),  # no permission
    9: ("driver-not-loaded", "certain"),
    12: ("driver-not-loaded", "certain"),  # library not found
    15: ("xid-hardware", "certain"),  # the GPU is lost
    16: ("xid-hardware", "certain"),  # reset required
    18: ("nvml-driver-library-mismatch", "certain"),
    999: ("container-lost-gpu-cgroup", "likely"),  # unknown: a device control group, or a wedged driver
}
# CUresult in cuda.h. 999 from cuInit is a kernel module nvidia_uvm that is missing or wedged.
_CUDA: dict[int, tuple[str, Certainty]] = {
    34: ("ld-library-path-shadow", "certain"),  # the stub library
    214: ("ecc-error", "certain"),
    802: ("fabric-manager-not-running", "certain"),
    804: ("compat-package-shadow", "certain"),
    999: ("driver-not-loaded", "likely"),
}


def _nvml_code(case: Case) -> list[Said]:
    known = _NVML.get(int(case.captures["code"]))
    return [case.one(*known)] if known else []


def _cuda_code(case: Case) -> list[Said]:
    code = int(case.captures.get("code", 100))  # Ollama has words of its own for 100
    if code == 100:
        return _no_device(case)
    if code == 803:
        return _system_driver_mismatch(case)
    known = _CUDA.get(code)
    return [case.one(*known)] if known else []


SETTLED: dict[str, Settle] = {
    "cuinit-code": _cuda_code,
    "libcuda-absent": _no_driver,
    "no-cuda-gpus": _no_device,
    "nvml-code": _nvml_code,
    "nvrm-probe-failed": _probe_failed,
    "system-driver-mismatch": _system_driver_mismatch,
    "torch-found-no-driver": _no_driver,
    "xid": _xid,
}
