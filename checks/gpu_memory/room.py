"""Room for the weights: main memory, GPU memory, shared memory."""

from __future__ import annotations

import math
from collections.abc import Iterator

from provision.catalog import tables
from provision.check import ERROR, NOTE, WARNING, Finding, NotApplicable, check
from provision.checks._pasted import MaybeStated, count_cards
from provision.checks._words import counted, size
from provision.fact import Missing
from provision.facts.gpus import Gpus
from provision.facts.limits import Limits, SharedMemory
from provision.facts.log import KernelLog
from provision.facts.memory import Memory
from provision.facts.pci import NvidiaCards
from provision.plan import GpuMemory


@check("MEM001", ERROR, cause="insufficient-host-memory")
def memory_limit_too_low(memory: Memory, plan: GpuMemory) -> Iterator[Finding]:
    """The machine, or the control group of this session, has less memory than the container needs.

    A container that reaches its limit is not slowed down, it is killed, usually while the weights are loaded and
    without a word in its own log. The limit that counts is the smaller one of the machine's memory and the tightest
    control group on the way from this session to the root.

    ## Fix
    Where the control group is the tighter one, raise its limit (`systemctl set-property`, the container's `--memory`);
    otherwise use a smaller model or a machine with more memory.

    ## Proof
    MEM-P3: the container loads the weights in every precision inside its limit.
    """
    if memory.limit_bytes < plan.limit_bytes:
        grouped = memory.cgroup_limit_bytes is not None and memory.cgroup_limit_bytes < memory.total_bytes
        where = "the control group allows" if grouped else "the machine has"
        yield Finding(
            f"{where} {size(memory.limit_bytes)} of memory; the container needs {size(plan.limit_bytes)}",
            measured={"limit_bytes": memory.limit_bytes, "total_bytes": memory.total_bytes},
            needed={"limit_bytes": plan.limit_bytes},
            fix=("cat /proc/self/cgroup   # then raise memory.max of that group",) if grouped else (),
        )


@check("MEM002", WARNING, cause="host-memory-occupied")
def memory_taken_by_others(memory: Memory, plan: GpuMemory) -> Iterator[Finding]:
    """Other programs hold the main memory that the container needs.

    The memory is there but in use: loading the weights now would push something to swap, or make the kernel kill a
    process, not always the one that asked.

    ## Fix
    Stop what is not needed, then run `provision doctor` again.

    ## Proof
    MEM-P3: the container loads the weights in every precision inside its limit.
    """
    if memory.limit_bytes < plan.limit_bytes:
        raise NotApplicable("the limit itself is too low (MEM001)")
    if memory.available_bytes < plan.limit_bytes:
        yield Finding(
            f"{size(memory.available_bytes)} of {size(memory.total_bytes)} are available; "
            f"the container may take {size(plan.limit_bytes)}",
            measured={"available_bytes": memory.available_bytes},
            needed={"available_bytes": plan.limit_bytes},
            fix=("ps -eo rss,pid,args --sort=-rss | head",),
        )


def _need(plan: GpuMemory) -> int:
    if plan.device != "cuda":
        raise NotApplicable("the plan runs on the CPU")
    return math.ceil(max(plan.weight_bytes.values()) * (1 + plan.tolerance))


@check("MEM003", ERROR, cause="insufficient-vram-weights")
def gpu_memory_too_small(gpus: Gpus, plan: GpuMemory) -> Iterator[Finding]:
    """No GPU has enough memory for the weights.

    The weights of the widest planned precision must fit into one GPU before a single token is made; the cache and the
    work come on top. A setting such as max_split_size_mb cannot make a model fit.

    ## Fix
    Use a narrower precision or a smaller model, or a card with more memory.

    ## Proof
    MEM-P3: the memory of every precision, measured in the container, is what the plan promised.
    """
    need = _need(plan)
    known = [gpu for gpu in gpus.gpus if gpu.memory_bytes is not None]
    if not known:
        raise NotApplicable("no GPU here has memory of its own")
    largest = max(known, key=lambda gpu: gpu.memory_bytes or 0)
    if (largest.memory_bytes or 0) < need:
        yield Finding(
            f"the largest GPU, {largest.name}, has {size(largest.memory_bytes or 0)}; the weights need {size(need)}",
            measured={"memory_bytes": largest.memory_bytes},
            needed={"memory_bytes": need},
            fix=("provision explain MEM003",),
        )


@check("MEM004", ERROR, cause="gpu-memory-occupied")
def gpu_memory_taken_by_others(gpus: Gpus, plan: GpuMemory) -> Iterator[Finding]:
    """Other programs hold the GPU memory that the weights need.

    Inference engines take most of a GPU's memory when they start and keep it. What they leave must still hold the
    weights. "CUDA out of memory" at start on a large card usually means this, or a process that was left behind.

    ## Fix
    See who holds it, and stop what is not needed. A process that `nvidia-smi` does not list may belong to another user
    or container: `fuser -v /dev/nvidia*` shows it to root.

    ## Proof
    MEM-P3: the memory of every precision, measured in the container, is what the plan promised.
    """
    need = _need(plan)
    fitting = [gpu for gpu in gpus.gpus if gpu.memory_bytes is not None and gpu.memory_bytes >= need]
    if not fitting:
        raise NotApplicable("no GPU is large enough even when empty (MEM003)")
    freest = max(fitting, key=lambda gpu: gpu.memory_free_bytes or 0)
    if (freest.memory_free_bytes or 0) < need:
        holders = sum(gpu.process_count or 0 for gpu in fitting)
        yield Finding(
            f"at most {size(freest.memory_free_bytes or 0)} are free on one GPU (GPU {freest.index}, {freest.name}); "
            f"the weights need {size(need)}, and {counted(holders, 'process', 'processes')} hold memory there",
            measured={"memory_free_bytes": freest.memory_free_bytes, "processes": holders},
            needed={"memory_free_bytes": need},
            fix=("nvidia-smi --query-compute-apps=pid,used_memory,name --format=csv", "fuser -v /dev/nvidia*"),
        )


@check("MEM005", WARNING, cause="host-ram-oom-killed")
def process_killed_for_memory(log: KernelLog) -> Iterator[Finding]:
    """The kernel has killed processes for want of memory since this machine started.

    The killed program's own log just ends; "Killed" or exit status 137 is all that is seen. The kernel log says who was
    killed and whether a control group's limit or the whole machine had run out.

    ## Fix
    A control group's limit: raise it, or load with less. The whole machine: stop what is not needed, or add memory.
    The finding goes away with the next start of the machine.

    ## Proof
    None of its own: it is a record of the past. MEM-P3 shows that the container loads inside its limit.
    """
    if log.oom_kills:
        last = log.oom_kills[-1]
        held = "" if last.resident_bytes is None else f", which held {size(last.resident_bytes)}"
        why = "the limit of its control group" if last.cgroup else "want of memory on the whole machine"
        yield Finding(
            f"the kernel killed {counted(len(log.oom_kills), 'process', 'processes')} since this machine started; "
            f"the last was {last.process} ({last.pid}){held}, for {why}",
            measured={"oom_kills": len(log.oom_kills)},
            needed={"oom_kills": 0},
            fix=("dmesg | grep -i 'killed process'",),
        )


def _several_cards(cards: NvidiaCards | Missing, stated: MaybeStated) -> int:
    number, least = count_cards(cards, stated), tables.thresholds().limit["gpus_that_talk"].value
    if number < least:
        raise NotApplicable(f"{counted(number, 'GPU')}: nothing is handed from one to another")
    return number


@check("MEM006", WARNING, cause="shm-too-small")
def shared_memory_too_small(shm: SharedMemory, cards: NvidiaCards | Missing, stated: MaybeStated) -> Iterator[Finding]:
    """/dev/shm is too small for several GPUs that work together.

    NCCL and the engines' workers hand tensors to each other through /dev/shm. Containers get 64 MB of it unless told
    otherwise. Too little shows late and badly: "failed to extend /dev/shm/nccl-…", "invalid argument", or a crash in
    the first all-reduce.

    ## Fix
    In a container: `--shm-size=1g` or `--ipc=host`. On a host: remount it larger.

    ## Proof
    None yet: the smoke test uses one GPU. `provision doctor --select MEM006` measures again.
    """  # noqa: S108
    number = _several_cards(cards, stated)
    row = tables.thresholds().limit["shared_memory_bytes"]
    if shm.total_bytes < row.value:
        yield Finding(
            f"/dev/shm has {size(shm.total_bytes)}; {counted(number, 'GPU')} need {size(row.value)}",  # noqa: S108
            measured={"total_bytes": shm.total_bytes},
            needed={"total_bytes": row.value},
            fix=("mount -o remount,size=1g /dev/shm", "or, for a container: docker run --shm-size=1g …"),
        )


@check("MEM007", NOTE, cause="ulimit-memlock-or-nofile")
def locked_memory_limited(limits: Limits, cards: NvidiaCards | Missing, stated: MaybeStated) -> Iterator[Finding]:
    """Processes may lock only little memory, which network cards need for direct transfers.

    RDMA registers buffers by locking them; with a limit, NCCL over InfiniBand or RoCE fails at its first operation.
    One machine without such a network card works with any limit.

    ## Fix
    In a container: `--ulimit memlock=-1`. For a service: `LimitMEMLOCK=infinity`.

    ## Proof
    None: it matters between machines, and this road provisions one.
    """
    number = _several_cards(cards, stated)
    if limits.memlock_hard_bytes is not None:
        yield Finding(
            f"processes may lock {size(limits.memlock_hard_bytes)} of memory; with {number} GPUs the advice is no limit",
            measured={"memlock_hard_bytes": limits.memlock_hard_bytes},
            needed={"memlock_hard_bytes": None},
            fix=("docker run --ulimit memlock=-1 …", "or, for a service: LimitMEMLOCK=infinity"),
        )
