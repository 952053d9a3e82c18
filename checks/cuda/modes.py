"""GPUs that the driver has and programs cannot use as they are set: modes, MIG, fabric."""

from __future__ import annotations

from collections.abc import Iterator

from provision.check import ERROR, WARNING, Finding, NotApplicable, check
from provision.checks._gpus import named, read_everywhere, readable
from provision.checks._pasted import MaybeStated
from provision.fact import Absent, Missing
from provision.facts.driver import NvidiaDriver
from provision.facts.gpu_links import GpuLinks
from provision.facts.gpu_nodes import FabricManager
from provision.facts.gpu_state import GpuErrors, GpuMode, GpuModes
from provision.facts.gpus import Gpus
from provision.facts.pci_paths import NvSwitches
from provision.facts.system import System
from provision.facts.units import Units

_UNIT = "nvidia-fabricmanager.service"


@check("CUD026", ERROR, cause="compute-mode-restricted")
def compute_mode_prohibited(modes: GpuModes) -> Iterator[Finding]:
    """A GPU's compute mode forbids every CUDA program.

    nvidia-smi shows the GPU, and CUDA says "all CUDA-capable devices are busy or unavailable" (46). Somebody set the mode
    by hand, often to keep a display card free; it stays until the driver is loaded anew.

    ## Fix
    Set the mode back.

    ## Proof
    CUD-P4: a matrix product and a convolution on the GPU agree with the CPU.
    """
    for gpu in readable(modes.gpus, "compute_mode", "no GPU here has a compute mode"):
        if gpu.compute_mode == "prohibited":
            yield _mode(gpu, "which lets no program in")


@check("CUD027", WARNING, cause="compute-mode-restricted")
def compute_mode_exclusive(modes: GpuModes) -> Iterator[Finding]:
    """A GPU's compute mode lets only one process in.

    An engine's own helpers (a second worker, a test, a monitoring probe) are then refused with "all CUDA-capable devices
    are busy or unavailable" (46), and a process that was left behind blocks the next start.

    ## Fix
    Set the mode back, unless a scheduler relies on it or the MPS daemon shares the GPU.

    ## Proof
    CUD-P4: a matrix product and a convolution on the GPU agree with the CPU.
    """
    for gpu in readable(modes.gpus, "compute_mode", "no GPU here has a compute mode"):
        if (gpu.compute_mode or "").startswith("exclusive"):
            yield _mode(gpu, "which lets one process in")


def _mode(gpu: GpuMode, means: str) -> Finding:
    return Finding(
        f"GPU {gpu.index} is in the compute mode {gpu.compute_mode}, {means}",
        measured={"index": gpu.index, "compute_mode": gpu.compute_mode},
        needed={"compute_mode": "default"},
        fix=(f"nvidia-smi -i {gpu.index} -c DEFAULT",),
    )


@check("CUD028", ERROR, cause="cuda-visible-devices-or-mig")
def mig_without_devices(gpus: Gpus, modes: GpuModes) -> Iterator[Finding]:
    """MIG mode is on and the GPU has not been divided.

    A GPU in MIG mode can be used only through the devices that were made on it. With none, nvidia-smi lists the GPU and
    CUDA says "no CUDA-capable device is detected" (100). Devices do not outlive a reboot; the mode does.

    ## Fix
    Make the devices, or switch the mode off.

    ## Proof
    CUD-P2: every parameter of the model is on the GPU.
    """
    divided = {gpu.index for gpu in gpus.gpus if gpu.mig_mode}
    if not divided:
        read_everywhere(gpus.gpus, "mig_mode", "no GPU here has MIG")
        raise NotApplicable("no GPU here is in MIG mode")
    inside = (gpu for gpu in modes.gpus if gpu.index in divided)
    for gpu in readable(inside, "mig_devices", "no GPU here tells its MIG devices"):
        if not gpu.mig_devices:
            yield Finding(
                f"{named(gpus, gpu.index)} is in MIG mode and has no MIG device",
                measured={"index": gpu.index, "mig_devices": 0},
                needed={"mig_devices": 1},
                fix=(
                    f"nvidia-smi mig -i {gpu.index} -lgip; nvidia-smi mig -i {gpu.index} -cgi 0 -C",
                    f"or: nvidia-smi -i {gpu.index} -mig 0",
                ),
            )


@check("CUD029", WARNING, cause="cuda-visible-devices-or-mig")
def mig_change_pending(gpus: Gpus) -> Iterator[Finding]:
    """A change of MIG mode waits for a reset.

    The mode that was asked for is not the one that is on. Whoever planned with it finds another number of devices.

    ## Fix
    Stop what uses the GPU and reset it, or reboot.

    ## Proof
    None of its own: `provision doctor --select CUD029` reads both modes again.
    """
    for gpu in readable(gpus.gpus, "mig_mode mig_mode_pending", "no GPU here has MIG"):
        if gpu.mig_mode != gpu.mig_mode_pending:
            yield Finding(
                f"GPU {gpu.index}: MIG is {'on' if gpu.mig_mode else 'off'} and will be "
                f"{'on' if gpu.mig_mode_pending else 'off'} after a reset",
                measured={"index": gpu.index, "mig_mode": gpu.mig_mode},
                needed={"mig_mode": gpu.mig_mode_pending},
                fix=(f"nvidia-smi --gpu-reset -i {gpu.index}",),
            )


@check("CUD030", ERROR, cause="fabric-manager-not-running")
def fabric_manager_not_running(switches: NvSwitches, units: Units, system: System) -> Iterator[Finding]:
    """GPUs behind NVSwitches have no fabric manager.

    Boards with NVSwitches (HGX A100, H100 and later) need NVIDIA's fabric manager before any CUDA program starts;
    without it CUDA says "system not yet initialized" (802) while nvidia-smi looks healthy.

    ## Fix
    Install the fabric manager of exactly the driver's version, and let it start with the machine.

    ## Proof
    CUD-P4: a matrix product and a convolution on the GPU agree with the CPU.
    """
    if system.container != "none":
        raise NotApplicable("the fabric manager runs on the host, which a container does not see")
    unit = next((u for u in units.units if u.name == _UNIT), None)
    if unit is None or not unit.active:
        count = len(switches.addresses)
        yield Finding(
            f"{count} NVSwitch{'es are' if count > 1 else ' is'} on the bus and the fabric manager "
            + ("is not installed" if unit is None else f"is {unit.state}"),
            measured={"switches": count, "state": unit.state if unit else None},
            needed={"state": "active"},
            fix=(
                "apt-get install nvidia-fabricmanager   # of the driver's own version"
                if unit is None
                else f"systemctl enable --now {_UNIT}",
                f"journalctl -u {_UNIT} -n 50",
            ),
        )


@check("CUD031", ERROR, cause="fabric-manager-not-running")
def fabric_manager_of_another_version(
    switches: NvSwitches,  # noqa: ARG001  without switches it is not needed
    manager: FabricManager,
    driver: NvidiaDriver,
) -> Iterator[Finding]:
    """The fabric manager is not of the driver's version.

    It refuses to work with any other driver, to the last digit. Driver upgrades that leave it behind end in "system not
    yet initialized" (802).

    ## Fix
    Install the fabric manager of the driver's version and hold both packages together.

    ## Proof
    CUD-P4: a matrix product and a convolution on the GPU agree with the CPU.
    """
    if manager.version != driver.version:
        yield Finding(
            f"the fabric manager is {manager.version}, the driver {driver.version}",
            measured={"fabric_manager": manager.version},
            needed={"fabric_manager": driver.version},
            fix=("apt-cache policy nvidia-fabricmanager", f"systemctl restart {_UNIT}"),
        )


@check("CUD032", ERROR, cause="fabric-manager-not-running")
def fabric_not_ready(
    links: GpuLinks,
    switches: NvSwitches | Absent | Missing,
    stated: MaybeStated,  # noqa: ARG001  a pasted listing says enough without the bus
) -> Iterator[Finding]:
    """A GPU has not joined the NVLink fabric, or has joined it badly.

    The driver itself says so. CUDA programs fail with "system not yet initialized" (802) until every GPU's state is
    completed; just after a start it may still be in progress.

    ## Fix
    Look at the fabric manager's log; on rack-scale systems at the domain's manager and the IMEX service.

    ## Proof
    CUD-P4: a matrix product and a convolution on the GPU agree with the CPU.
    """
    outside = all(gpu.fabric_state in (None, "not supported") for gpu in links.gpus)
    if outside and (isinstance(switches, Absent) or not any(gpu.unread for gpu in links.gpus)):
        raise NotApplicable("no GPU here belongs to an NVLink fabric")
    for gpu in readable(links.gpus, "fabric_state", "no GPU here belongs to an NVLink fabric"):
        bad = [
            *([f"its state is {gpu.fabric_state}"] if gpu.fabric_state in ("not started", "in progress") else []),
            *([gpu.fabric_error] if gpu.fabric_error and gpu.fabric_state != "not supported" else []),
            *(gpu.fabric_faults or ()),
        ]
        if bad:
            yield Finding(
                f"the NVLink fabric of GPU {gpu.index}: {', '.join(bad)}",
                measured={"index": gpu.index, "state": gpu.fabric_state, "faults": list(gpu.fabric_faults or ())},
                needed={"state": "completed"},
                fix=("nvidia-smi -q | grep -A8 Fabric", f"journalctl -u {_UNIT} -n 50"),
            )


@check("CUD035", ERROR, cause="gpu-reset-due")
def driver_asks_for_recovery(errors: GpuErrors) -> Iterator[Finding]:
    """The driver itself says that a GPU must be reset, drained, or the machine restarted.

    After a fault the driver keeps its advice until it is followed. Work on such a GPU fails or gives wrong results, and a
    fault that spread over NVLink can take the neighbours along.

    ## Fix
    Stop what uses the GPU and do what the driver asks.

    ## Proof
    CUD-P4: a matrix product and a convolution on the GPU agree with the CPU.
    """
    for gpu in readable(errors.gpus, "recovery", "this driver gives no such advice"):
        if gpu.recovery != "none":
            yield Finding(
                f"the driver's advice for GPU {gpu.index}: {gpu.recovery}",
                measured={"index": gpu.index, "recovery": gpu.recovery},
                needed={"recovery": "none"},
                fix=(f"nvidia-smi --gpu-reset -i {gpu.index}", "dmesg | grep -i xid"),
            )
