"""What a log says of GPU memory, main memory and their limits."""

from __future__ import annotations

from collections.abc import Iterator

from provision.check import ERROR, Finding, check
from provision.checks._log import said
from provision.checks._pasted import MaybeStated
from provision.facts.symptoms import Symptoms


@check("MEM100", ERROR, cause="insufficient-vram-weights")
def log_says_weights_do_not_fit(symptoms: Symptoms, stated: MaybeStated) -> Iterator[Finding]:
    """A log says that the weights do not fit.

    Weights take parameters times bytes each, shared among the GPUs of a tensor-parallel group. Out of memory alone
    does not say whether it was they.

    ## Fix
    A smaller model or precision, or more GPUs.

    ## Proof
    MEM-P1; `provision doctor --select MEM100` reads a new log.
    """
    yield from said(
        symptoms,
        stated,
        "insufficient-vram-weights",
        (
            "nvidia-smi   # how much is there, and who holds it",
            "a 4-bit or 8-bit model, or more GPUs (--tensor-parallel-size)",
        ),
        (
            "nvidia-smi   # others hold memory?",
            "read the message on: allocated against reserved; before or after the weights were loaded",
        ),
    )


@check("MEM101", ERROR, cause="insufficient-kv-cache")
def log_says_cache_too_small(symptoms: Symptoms, stated: MaybeStated) -> Iterator[Finding]:
    """A log says that too little memory is left for the cache.

    What the weights and the profiled peak leave is the key-value cache. The longest request must fit into it; graph
    capture comes on top.

    ## Fix
    A shorter context, fewer sequences, another share of the memory, an 8-bit cache, or no graphs.

    ## Proof
    MEM-P1; `provision doctor --select MEM101` reads a new log.
    """
    yield from said(
        symptoms,
        stated,
        "insufficient-kv-cache",
        (
            "--max-model-len, --max-num-seqs, --gpu-memory-utilization (SGLang: --mem-fraction-static)",
            "--kv-cache-dtype fp8; --enforce-eager",
        ),
    )


@check("MEM102", ERROR, cause="host-ram-oom-killed")
def log_says_main_memory_ran_out(symptoms: Symptoms, stated: MaybeStated) -> Iterator[Finding]:
    """A log says that main memory ran out.

    The kernel, or the container's limit, ends the process with signal 9 (exit code 137). Loading needs main memory,
    once per rank.

    ## Fix
    More memory or a higher limit, fewer ranks at a time, safetensors instead of pickles.

    ## Proof
    MEM-P1; `provision doctor --select MEM102` reads a new log.
    """
    yield from said(
        symptoms,
        stated,
        "host-ram-oom-killed",
        (
            "dmesg | grep -i -e oom -e 'killed process'; free -h",
            "docker run --memory …, or a higher limit of the pod",
        ),
    )


@check("MEM103", ERROR, cause="hugepage-or-swap")
def log_says_swap_in_the_way(symptoms: Symptoms, stated: MaybeStated) -> Iterator[Finding]:
    """A log says that swap or huge pages get in the way.

    Weights that were swapped out stall every token; reserved huge pages are lost to everything else.

    ## Fix
    Keep weights in memory, turn swap off for the engine, free reserved pages.

    ## Proof
    MEM-P1; `provision doctor --select MEM103` reads a new log.
    """
    yield from said(
        symptoms,
        stated,
        "hugepage-or-swap",
        (
            "free -h; grep -i huge /proc/meminfo; vmstat 1",
            "swapoff -a, or MemorySwapMax=0 for the service",
        ),
    )


@check("MEM104", ERROR, cause="shm-too-small")
def log_says_shared_memory_too_small(symptoms: Symptoms, stated: MaybeStated) -> Iterator[Finding]:
    """A log says that shared memory is too small.

    Docker gives 64 MiB of /dev/shm; NCCL and data loaders need more, and die with a bus error.

    ## Fix
    Start the container with more, or with the host's.

    ## Proof
    MEM-P1; `provision doctor --select MEM104` reads a new log.
    """
    yield from said(
        symptoms,
        stated,
        "shm-too-small",
        (
            "docker run --shm-size 16g, or --ipc=host",
            "Kubernetes: an emptyDir with medium Memory on /dev/shm",
        ),
    )


@check("MEM105", ERROR, cause="ulimit-memlock-or-nofile")
def log_says_limit_too_low(symptoms: Symptoms, stated: MaybeStated) -> Iterator[Finding]:
    """A log says that a limit of the process is too low.

    RDMA and pinned memory need locked memory; many workers need files and processes. Services and containers do not
    inherit the shell's limits.

    ## Fix
    Raise the limit where the process is started.

    ## Proof
    MEM-P1; `provision doctor --select MEM105` reads a new log.
    """
    yield from said(
        symptoms,
        stated,
        "ulimit-memlock-or-nofile",
        (
            "ulimit -l; ulimit -n; ulimit -u",
            "docker run --ulimit memlock=-1 --ulimit nofile=65535; LimitMEMLOCK=infinity in the unit",
        ),
    )


@check("MEM106", ERROR, cause="tensor-parallel-not-divisible")
def log_says_not_divisible(symptoms: Symptoms, stated: MaybeStated) -> Iterator[Finding]:
    """A log says that the model cannot be divided so.

    Tensor parallelism gives each GPU the same number of heads and columns; quantised blocks must come out whole
    too.

    ## Fix
    A number of GPUs that divides the heads, or pipeline parallelism.

    ## Proof
    MEM-P1; `provision doctor --select MEM106` reads a new log.
    """
    yield from said(
        symptoms,
        stated,
        "tensor-parallel-not-divisible",
        ("--tensor-parallel-size that divides the attention heads; the rest by --pipeline-parallel-size",),
    )
