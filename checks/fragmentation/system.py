"""Memory that is free and still refused: mappings used up, strict accounting, preloaded allocators that are not there."""

from __future__ import annotations

from collections.abc import Iterator

from provision.catalog import tables
from provision.check import WARNING, Finding, NotApplicable, check
from provision.checks._words import listed, size
from provision.facts.environment import Environment
from provision.facts.memory_settings import MemorySettings
from provision.facts.native import Preloaded
from provision.plan import GpuMemory


@check("FRG050", WARNING, cause="memory-map-limit")
def mappings_of_a_process_limited(settings: MemorySettings) -> Iterator[Finding]:
    """A process may hold fewer memory mappings than the kernel's default.

    Every shard of a checkpoint, every thread's stack and each piece of a fragmented heap is a mapping. At the limit
    `mmap` fails with "Cannot allocate memory" while most of the memory is free.

    ## Fix
    Take the lower value out of /etc/sysctl.d.

    ## Proof
    FRG-P1: loading, running and dropping a model again and again does not grow the process, with the planned setting.
    """
    row = tables.thresholds().limit["map_count"]
    if settings.map_limit is None:
        raise NotApplicable("this kernel has no such limit")
    if settings.map_limit < row.value:
        yield Finding(
            f"a process may hold {settings.map_limit} mappings; the kernel's default is {row.value}",
            measured={"map_limit": settings.map_limit},
            needed={"map_limit": row.value},
            fix=("grep -rn max_map_count /etc/sysctl.conf /etc/sysctl.d", f"sysctl vm.max_map_count={row.value}"),
        )


@check("FRG051", WARNING, cause="overcommit-strict")
def free_memory_may_not_be_promised(settings: MemorySettings, plan: GpuMemory) -> Iterator[Finding]:
    """The kernel promises no more memory than a fixed sum, and too little of it is left.

    With vm.overcommit_memory=2 every byte that a program reserves counts, used or not. Python, CUDA and thread pools
    reserve many times what they use, so allocations fail ("Cannot allocate memory") on a machine with free memory.

    ## Fix
    `sysctl vm.overcommit_memory=0`, or raise vm.overcommit_ratio.

    ## Proof
    MEM-P3: the container loads the weights in every precision inside its limit.
    """
    if settings.overcommit != 2:
        raise NotApplicable("the kernel promises memory freely")
    if settings.commit_limit_bytes is None or settings.committed_bytes is None:
        raise NotApplicable("the kernel does not say what it has promised")
    left = settings.commit_limit_bytes - settings.committed_bytes
    if left < plan.limit_bytes:
        yield Finding(
            f"the kernel will promise {size(max(left, 0))} more; the container may take {size(plan.limit_bytes)}",
            measured={"commit_limit_bytes": settings.commit_limit_bytes, "committed_bytes": settings.committed_bytes},
            needed={"left_bytes": plan.limit_bytes},
            fix=("grep -rn overcommit /etc/sysctl.conf /etc/sysctl.d", "sysctl vm.overcommit_memory=0"),
        )


@check("FRG052", WARNING, cause="preload-missing")
def preloaded_library_not_there(preloaded: Preloaded) -> Iterator[Finding]:
    """LD_PRELOAD names a library that is not there.

    An allocator such as tcmalloc or jemalloc is preloaded against fragmentation of the main memory. Where the file is
    gone, the loader says so on every program's standard error and goes on with the ordinary allocator.

    ## Fix
    Install it, or correct the path where the variable is set.

    ## Proof
    FRG-P1: loading, running and dropping a model again and again does not grow the process, with the planned setting.
    """
    if preloaded.lacking:
        yield Finding(
            f"LD_PRELOAD names {listed(preloaded.lacking)}, which is not there",
            measured={"lacking": list(preloaded.lacking)},
            needed={"lacking": []},
            fix=('echo "$LD_PRELOAD"', "ldconfig -p | grep -e tcmalloc -e jemalloc"),
        )


@check("FRG053", WARNING, cause="debug-switch-left-on")
def allocator_keeps_nothing(environment: Environment) -> Iterator[Finding]:
    """PYTORCH_NO_CUDA_MEMORY_CACHING makes torch ask the driver for every tensor.

    It is set so that memory checkers see every allocation. Without torch's cache each tensor is a cudaMalloc and a cudaFree,
    and the latter waits for the whole GPU. Settings of the caching allocator have no effect.

    ## Fix
    Take the variable out of the session, the unit or the container.

    ## Proof
    FRG-P1: loading, running and dropping a model again and again does not grow the process, with the planned setting.
    """
    if dict(environment.variables).get("PYTORCH_NO_CUDA_MEMORY_CACHING") == "1":
        yield Finding(
            "PYTORCH_NO_CUDA_MEMORY_CACHING is 1: torch asks the driver for every tensor",
            measured={"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"},
            needed={"PYTORCH_NO_CUDA_MEMORY_CACHING": None},
            fix=("unset PYTORCH_NO_CUDA_MEMORY_CACHING",),
        )
