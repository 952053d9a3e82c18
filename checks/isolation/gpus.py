"""What one user of a GPU can learn about another."""

from __future__ import annotations

from collections.abc import Iterator

from provision.check import ERROR, NOTE, WARNING, Finding, NotApplicable, check
from provision.fact import Missing
from provision.facts.gpu_nodes import GpuModules
from provision.facts.gpu_state import ConfidentialComputing


def _on(mode: ConfidentialComputing, field: str) -> None:
    for name, reason in mode.unread:
        if name in ("confidential_computing", field):
            raise Missing(reason)
    if not mode.on:
        raise NotApplicable("confidential computing is off, or these GPUs have none")


@check("ISO020", ERROR, cause="gpu-not-confidential")
def confidential_gpus_open_to_debuggers(mode: ConfidentialComputing) -> Iterator[Finding]:
    """Confidential computing is on in developer mode, in which nothing is protected.

    The mode behaves like the real one and lets debuggers and profilers look in: weights and prompts are readable. It is
    meant for writing software, and its attestation says so to whoever asks.

    ## Fix
    Set the mode to on instead of devtools, on the host, and start the confidential virtual machine again.

    ## Proof
    None: only an attestation report proves the mode. `provision doctor --select ISO020` asks the driver again.
    """
    _on(mode, "developer_tools")
    if mode.developer_tools:
        yield Finding(
            "confidential computing is on with developer tools: the GPUs protect nothing",
            measured={"developer_tools": True},
            needed={"developer_tools": False},
            fix=("nvidia-smi conf-compute -d",),
        )


@check("ISO021", WARNING, cause="gpu-not-confidential")
def confidential_computing_simulated(mode: ConfidentialComputing) -> Iterator[Finding]:
    """Confidential computing runs in a simulated environment.

    The driver runs through the motions without the keys of a real one. There is nothing to attest.

    ## Fix
    Use production hardware and firmware, in a confidential virtual machine (SEV-SNP or TDX).

    ## Proof
    None: only an attestation report proves the mode. `provision doctor --select ISO021` asks the driver again.
    """
    _on(mode, "environment")
    if mode.environment == "simulation":
        yield Finding(
            "confidential computing is on in a simulated environment",
            measured={"environment": mode.environment},
            needed={"environment": "production"},
            fix=("nvidia-smi conf-compute -e",),
        )


@check("ISO022", ERROR, cause="gpu-not-confidential")
def confidential_gpus_not_ready(mode: ConfidentialComputing) -> Iterator[Finding]:
    """Confidential computing is on and the GPUs take no work yet.

    After the start of the machine somebody must attest the GPUs and declare them ready; until then every CUDA program
    fails with "system not yet initialized" (802).

    ## Fix
    Attest the GPUs, then set them ready.

    ## Proof
    CUD-P4: a matrix product and a convolution on the GPU agree with the CPU.
    """
    _on(mode, "ready")
    if mode.ready is False:
        yield Finding(
            "confidential computing is on and the GPUs are not set ready",
            measured={"ready": False},
            needed={"ready": True},
            fix=("nvidia-smi conf-compute -grs", "nvidia-smi conf-compute -srs 1   # after the attestation"),
        )


@check("ISO023", NOTE, cause="gpu-counters-open")
def gpu_counters_open_to_all(modules: GpuModules) -> Iterator[Finding]:
    """Any user may read the GPUs' performance counters.

    From them one user can tell what another's model does; NVIDIA closed them to all but administrators by default
    (CVE-2018-6260). Somebody opened them again, mostly for a profiler.

    ## Fix
    Take NVreg_RestrictProfilingToAdminUsers=0 out of the driver's options and load it anew.

    ## Proof
    None of its own: `provision doctor --select ISO023` reads the driver's parameters again.
    """
    if modules.profiling_for_all is None:
        raise NotApplicable("the driver does not say who may profile")
    if modules.profiling_for_all:
        yield Finding(
            "the driver lets every user read the GPUs' performance counters",
            measured={"profiling_for_all": True},
            needed={"profiling_for_all": False},
            fix=("grep -rn RestrictProfiling /etc/modprobe.d",),
        )
