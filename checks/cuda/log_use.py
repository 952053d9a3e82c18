"""What a log says of how GPUs are asked for and how they find each other."""

from __future__ import annotations

from collections.abc import Iterator

from provision.check import ERROR, WARNING, Finding, check
from provision.checks._log import said
from provision.checks._pasted import MaybeStated
from provision.facts.symptoms import Symptoms


@check("CUD117", ERROR, cause="cuda-visible-devices-or-mig")
def log_says_gpu_hidden(symptoms: Symptoms, stated: MaybeStated) -> Iterator[Finding]:
    """A log says that a GPU is hidden or numbered otherwise.

    CUDA_VISIBLE_DEVICES renumbers what it leaves visible, CUDA counts the fastest card first, and MIG slices are
    named by UUID.

    ## Fix
    Set CUDA_DEVICE_ORDER=PCI_BUS_ID and correct CUDA_VISIBLE_DEVICES.

    ## Proof
    CUD-P2; `provision doctor --select CUD117` reads a new log.
    """
    yield from said(
        symptoms,
        stated,
        "cuda-visible-devices-or-mig",
        (
            "nvidia-smi -L; env | grep -e CUDA_VISIBLE -e CUDA_DEVICE -e NVIDIA_VISIBLE",
            "export CUDA_DEVICE_ORDER=PCI_BUS_ID",
        ),
        (
            "nvidia-smi -L   # nothing: the driver; in a container: its runtime",
            "env | grep CUDA_VISIBLE_DEVICES",
        ),
    )


@check("CUD118", ERROR, cause="compute-capability-feature")
def log_says_feature_lacking(symptoms: Symptoms, stated: MaybeStated) -> Iterator[Finding]:
    """A log says that the GPU's generation lacks a feature.

    bfloat16 needs compute capability 8.0, FP8 8.9, FlashAttention-2 8.0; kernels also count on on-chip memory that
    smaller cards lack.

    ## Fix
    Choose what the card has: float16, another quantisation, another attention kernel.

    ## Proof
    CUD-P4; `provision doctor --select CUD118` reads a new log.
    """
    yield from said(
        symptoms,
        stated,
        "compute-capability-feature",
        (
            "nvidia-smi --query-gpu=name,compute_cap --format=csv",
            "--dtype half, or a quantisation that this card supports",
        ),
        ("nvidia-smi --query-gpu=name,compute_cap --format=csv",),
    )


@check("CUD119", WARNING, cause="gpu-program-fault")
def log_says_program_fault(symptoms: Symptoms, stated: MaybeStated) -> Iterator[Finding]:
    """A log shows a GPU program that went wrong.

    An illegal access or an assertion is a defect of a program or its input far more often than a sick card. The
    text does not tell which.

    ## Fix
    Run it on another card or with launches one by one. If the same input fails everywhere, it is the program.

    ## Proof
    CUD-P4; `provision doctor --select CUD119` reads a new log.
    """
    yield from said(
        symptoms,
        stated,
        "gpu-program-fault",
        ("CUDA_LAUNCH_BLOCKING=1 PROGRAM",),
        (
            "CUDA_LAUNCH_BLOCKING=1 PROGRAM; compute-sanitizer PROGRAM   # names the kernel: the program",
            "dmesg | grep -i xid; nvidia-smi -q -d ECC   # errors there: the card",
        ),
    )


@check("CUD120", ERROR, cause="nccl-network-interface")
def log_says_wrong_interface(symptoms: Symptoms, stated: MaybeStated) -> Iterator[Finding]:
    """A log says that ranks do not reach each other over the network.

    NCCL and Gloo pick an interface by name order; docker0, a loopback or a down port is then used, or a firewall
    stands between.

    ## Fix
    Name the interface per node.

    ## Proof
    CUD-P2; `provision doctor --select CUD120` reads a new log.
    """
    yield from said(
        symptoms,
        stated,
        "nccl-network-interface",
        (
            "ip -br addr; export NCCL_SOCKET_IFNAME=IFACE GLOO_SOCKET_IFNAME=IFACE   # per node",
            "NCCL_DEBUG=INFO PROGRAM 2>&1 | grep -e NET -e Bootstrap",
        ),
    )


@check("CUD121", ERROR, cause="multi-node-ray")
def log_says_nodes_apart(symptoms: Symptoms, stated: MaybeStated) -> Iterator[Finding]:
    """A log says that the nodes of a cluster do not find each other.

    Ray counts a node's GPUs and address when it joins. Another address, another version or no GPU there, and the
    engine waits for ever.

    ## Fix
    Start every node with the address that the others see, the same versions, and its GPUs.

    ## Proof
    CUD-P2; `provision doctor --select CUD121` reads a new log.
    """
    yield from said(
        symptoms,
        stated,
        "multi-node-ray",
        (
            "ray status",
            "export VLLM_HOST_IP=ADDRESS   # the one that ray status shows",
        ),
    )
