"""Which GPUs these are: unlike each other, or unlike what was expected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from provision.check import ERROR, NOTE, WARNING, Finding, NotApplicable, check
from provision.checks._gpus import named
from provision.checks._words import listed
from provision.fact import Absent, Missing
from provision.facts.gpu_state import GpuModes
from provision.facts.gpus import Gpus
from provision.spec import Spec

_UNIT = "nvidia-fabricmanager.service"


@check("CUD033", WARNING, cause="mixed-gpus")
def different_gpu_models(gpus: Gpus) -> Iterator[Finding]:
    """GPUs of different models are in one machine.

    Engines divide a model evenly over the GPUs: the smallest memory and the slowest card set the pace, some kernels exist
    only on one of them, and the numbers of nvidia-smi and CUDA may differ (CUDA counts the fastest first).

    ## Fix
    Give each engine cards of one model with CUDA_VISIBLE_DEVICES, and set CUDA_DEVICE_ORDER=PCI_BUS_ID.

    ## Proof
    None: it is a statement about the machine. `provision doctor --select CUD033` reads the names again.
    """
    if len(gpus.gpus) < 2:
        raise NotApplicable("there are no two GPUs to compare")
    models = Counter(gpu.name for gpu in gpus.gpus)
    if len(models) > 1:
        yield Finding(
            f"{listed(f'{count} of {name}' for name, count in sorted(models.items()))}",
            measured={"models": dict(sorted(models.items()))},
            needed={"models": 1},
            fix=("export CUDA_DEVICE_ORDER=PCI_BUS_ID", "nvidia-smi -L   # then choose with CUDA_VISIBLE_DEVICES"),
        )


@check("CUD034", ERROR, cause="gpu-not-as-expected")
def gpu_model_not_expected(gpus: Gpus, spec: Spec) -> Iterator[Finding]:
    """A GPU is not of the model that provision.toml expects.

    `[expect] gpu_model` states what the machines of a fleet must have, in words of the driver's name for it.

    ## Fix
    Look which machine this is; correct provision.toml where the expectation is the mistake.

    ## Proof
    None of its own: it is a statement about the machine. `provision doctor --select CUD034` reads the names again.
    """
    wanted = spec.expect.gpu_model
    if wanted is None:
        raise NotApplicable("provision.toml expects no particular model of GPU")
    for gpu in gpus.gpus:
        if wanted.lower() not in gpu.name.lower():
            yield Finding(
                f"{named(gpus, gpu.index)} is {gpu.name}; provision.toml expects {wanted}",
                measured={"index": gpu.index, "name": gpu.name},
                needed={"gpu_model": wanted},
                fix=("nvidia-smi -L",),
            )


@check("CUD044", NOTE, cause="mixed-gpus")
def firmware_differs(gpus: Gpus, modes: GpuModes | Absent | Missing) -> Iterator[Finding]:
    """GPUs of one model have different firmware (VBIOS).

    Power limits, clocks and error handling are the firmware's. One card of eight that was exchanged and not brought to the
    others' version is the usual reason for one GPU that is slower than its neighbours.

    ## Fix
    Bring all to one version, with the machine's maker.

    ## Proof
    None of its own: `provision doctor --select CUD044` reads the versions again.
    """
    if not isinstance(modes, GpuModes):
        raise modes
    versions: dict[str, Counter[str]] = {}
    for gpu, mode in ((g, m) for g in gpus.gpus for m in modes.gpus if g.index == m.index and m.vbios):
        versions.setdefault(gpu.name, Counter())[mode.vbios or ""] += 1
    unread = [r for mode in modes.gpus for name, r in mode.unread if name == "vbios"]
    if unread and not any(len(count) > 1 for count in versions.values()):
        raise Missing(unread[0])
    if not any(count.total() > 1 for count in versions.values()):
        raise NotApplicable("there are no two GPUs of one model whose firmware is known")
    for name, count in sorted(versions.items()):
        if len(count) > 1:
            yield Finding(
                f"{name}: {listed(f'{times} with firmware {vbios}' for vbios, times in sorted(count.items()))}",
                measured={"vbios": dict(sorted(count.items()))},
                needed={"versions": 1},
                fix=("nvidia-smi --query-gpu=index,vbios_version --format=csv",),
            )
