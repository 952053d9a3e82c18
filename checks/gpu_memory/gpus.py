"""Memory of the GPUs that is there and cannot be had: windows, leftovers, unified memory, slices."""

from __future__ import annotations

import math
from collections.abc import Iterator

from provision.catalog import tables
from provision.check import ERROR, NOTE, WARNING, Finding, NotApplicable, check
from provision.checks._gpus import each, named
from provision.checks._words import counted, listed, size
from provision.facts.gpu_state import GpuMode, GpuModes
from provision.facts.gpus import Gpus
from provision.facts.memory import Memory
from provision.facts.system import System
from provision.plan import GpuMemory
from provision.spec import Spec


@check("MEM020", NOTE, cause="gpu-window-small")
def memory_window_small(modes: GpuModes) -> Iterator[Finding]:
    """A GPU shows the bus only 256 MiB of its memory.

    Resizable BAR is off, so that other cards and the processor reach its memory through a small window that must be moved.
    Direct access between cards and from network cards needs the large one.

    ## Fix
    Switch on "Above 4G decoding" and "Resizable BAR" in the firmware.

    ## Proof
    None of its own: `provision doctor --select MEM020` reads the window again.
    """
    small = tables.thresholds().limit["small_window_bytes"].value

    def judge(gpu: GpuMode) -> Iterator[Finding]:
        if (gpu.bar1_bytes or 0) <= small:
            yield Finding(
                f"GPU {gpu.index} shows a window of {size(gpu.bar1_bytes or 0)} (BAR1); resizable BAR is off",
                measured={"index": gpu.index, "bar1_bytes": gpu.bar1_bytes},
                needed={"above_bytes": small},
                fix=(f"nvidia-smi -q -i {gpu.index} -d MEMORY", "lspci -vv -d 10de: | grep -A3 'Resizable BAR'"),
            )

    yield from each(modes.gpus, "bar1_bytes", "no GPU here has such a window", judge)


@check("MEM021", WARNING, cause="gpu-memory-occupied")
def memory_held_by_nobody(modes: GpuModes, system: System) -> Iterator[Finding]:
    """GPU memory is taken and no process claims it.

    A process that was killed in the middle of its work, or one in a container whose engine lost it, keeps its memory. The
    next engine finds too little room and reports "CUDA out of memory" at its start.

    ## Fix
    Find who has the device open; where nobody has, reset the GPU.

    ## Proof
    MEM-P3: the memory of every precision, measured in the container, is what the plan promised.
    """
    if system.container != "none":
        raise NotApplicable("a container does not see the processes of others")
    limit = tables.thresholds().limit["unclaimed_gpu_bytes"].value

    def judge(gpu: GpuMode) -> Iterator[Finding]:
        if not gpu.processes and (gpu.used_bytes or 0) > limit:
            yield Finding(
                f"GPU {gpu.index}: {size(gpu.used_bytes or 0)} are taken and no process is listed",
                measured={"index": gpu.index, "used_bytes": gpu.used_bytes, "processes": 0},
                needed={"at_most_bytes": limit},
                fix=("fuser -v /dev/nvidia*   # as root", f"nvidia-smi --gpu-reset -i {gpu.index}"),
            )

    yield from each(modes.gpus, "used_bytes processes", "no GPU here tells who holds its memory", judge)


@check("MEM022", NOTE, cause="gpu-memory-occupied")
def desktop_on_the_gpu(modes: GpuModes) -> Iterator[Finding]:
    """A desktop draws on a GPU that models use.

    It holds some memory, more with every window, so that a model that just fitted no longer does; and long kernels make the
    screen stand still.

    ## Fix
    Let the desktop use the processor's graphics or another card, or run the machine without one.

    ## Proof
    MEM-P3: the memory of every precision, measured in the container, is what the plan promised.
    """

    def judge(gpu: GpuMode) -> Iterator[Finding]:
        drawing = [one for one in gpu.processes or () if one.kind == "graphics"]
        if drawing:
            held = sum(one.memory_bytes or 0 for one in drawing)
            yield Finding(
                f"GPU {gpu.index}: {counted(len(drawing), 'graphics process', 'graphics processes')} "
                f"(pid {listed(one.pid for one in drawing)}) hold{'s' if len(drawing) == 1 else ''} {size(held)}",
                measured={"index": gpu.index, "graphics_bytes": held},
                needed={"graphics_processes": 0},
                fix=("nvidia-smi", "systemctl set-default multi-user.target; reboot   # a machine without a desktop"),
            )

    yield from each(modes.gpus, "processes", "no GPU here tells its processes", judge)


def _need(plan: GpuMemory) -> int:
    if plan.device != "cuda":
        raise NotApplicable("the plan runs on the CPU")
    return math.ceil(max(plan.weight_bytes.values()) * (1 + plan.tolerance))


@check("MEM023", ERROR, cause="insufficient-vram-weights")
def unified_memory_too_small(gpus: Gpus, memory: Memory, plan: GpuMemory) -> Iterator[Finding]:
    """The memory that processor and GPU share is too small for the weights.

    GPUs such as GB10 have no memory of their own. Weights, cache and every program share the machine's, and what is loaded
    through the page cache stands there twice for a while: with free memory at zero the machine stands still for minutes.

    ## Fix
    Use a narrower precision or a smaller model, and a loader that does not map the files.

    ## Proof
    MEM-P3: the memory of every precision, measured in the container, is what the plan promised.
    """
    need = _need(plan)
    shared = [gpu for gpu in gpus.gpus if gpu.memory_bytes is None]
    if not shared or len(shared) < len(gpus.gpus):
        raise NotApplicable("the GPUs here have memory of their own (MEM003)")
    if memory.limit_bytes < need:
        yield Finding(
            f"{shared[0].name} shares the machine's memory, {size(memory.limit_bytes)}; the weights need {size(need)}",
            measured={"limit_bytes": memory.limit_bytes},
            needed={"limit_bytes": need},
            fix=("provision explain MEM023",),
        )


@check("MEM024", ERROR, cause="insufficient-vram-weights")
def mig_devices_too_small(gpus: Gpus, modes: GpuModes, plan: GpuMemory) -> Iterator[Finding]:
    """No MIG device is large enough for the weights.

    A program sees one device of a divided GPU and has only its memory. Devices cannot be joined for one model: there is no
    direct way between them.

    ## Fix
    Divide the GPU into larger devices, or switch MIG off.

    ## Proof
    MEM-P3: the memory of every precision, measured in the container, is what the plan promised.
    """
    need = _need(plan)
    divided = {gpu.index for gpu in gpus.gpus if gpu.mig_mode}
    if len(divided) < len(gpus.gpus) or not divided:
        raise NotApplicable("a GPU here is whole (MEM003)")
    sizes = [m.memory_bytes for gpu in modes.gpus for m in gpu.mig_devices or () if m.memory_bytes is not None]
    if not sizes:
        raise NotApplicable("there is no MIG device (CUD028)")
    if max(sizes) < need:
        yield Finding(
            f"the largest of {counted(len(sizes), 'MIG device')} has {size(max(sizes))}; the weights need {size(need)}",
            measured={"memory_bytes": max(sizes)},
            needed={"memory_bytes": need},
            fix=("nvidia-smi mig -lgip", "or: nvidia-smi -mig 0"),
        )


@check("MEM025", ERROR, cause="gpu-not-as-expected")
def gpu_memory_less_than_expected(gpus: Gpus, spec: Spec) -> Iterator[Finding]:
    """A GPU has less memory than provision.toml expects.

    `[expect] gpu_memory_bytes` states what every GPU of the fleet must have. A card of the same name can come with less.

    ## Fix
    Look which card it is; correct provision.toml where the expectation is the mistake.

    ## Proof
    None of its own: it is a statement about the machine. `provision doctor --select MEM025` reads it again.
    """
    wanted = spec.expect.gpu_memory_bytes
    if wanted is None:
        raise NotApplicable("provision.toml expects no particular amount of GPU memory")
    for gpu in gpus.gpus:
        if gpu.memory_bytes is None:
            raise NotApplicable(f"{gpu.name} has no memory of its own")
        if gpu.memory_bytes < wanted:
            yield Finding(
                f"{named(gpus, gpu.index)} has {gpu.memory_bytes} bytes of memory; provision.toml expects {wanted}",
                measured={"index": gpu.index, "memory_bytes": gpu.memory_bytes},
                needed={"gpu_memory_bytes": wanted},
                fix=("nvidia-smi --query-gpu=index,name,memory.total --format=csv",),
            )
