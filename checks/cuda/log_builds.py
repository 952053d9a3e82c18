"""What a log says of CUDA libraries and builds."""

from __future__ import annotations

from collections.abc import Iterator

from provision.check import ERROR, Finding, check
from provision.checks._log import said
from provision.checks._pasted import MaybeStated
from provision.facts.symptoms import Symptoms


@check("CUD111", ERROR, cause="ld-library-path-shadow")
def log_says_library_shadowed(symptoms: Symptoms, stated: MaybeStated) -> Iterator[Finding]:
    """A log says that a wrong copy of a library was loaded.

    LD_LIBRARY_PATH comes before the libraries that a wheel carries. A toolkit's or conda's copy of another release
    then meets them.

    ## Fix
    Unset LD_LIBRARY_PATH, or put the right folder first.

    ## Proof
    CUD-P4; `provision doctor --select CUD111` reads a new log.
    """
    yield from said(
        symptoms,
        stated,
        "ld-library-path-shadow",
        (
            "unset LD_LIBRARY_PATH",
            "LD_DEBUG=libs python3 -c 'import torch' 2>&1 | grep -e 'calling init'",
        ),
        (
            "unset LD_LIBRARY_PATH; PROGRAM   # runs now: a wrong copy was loaded",
            "compute-sanitizer PROGRAM   # a bad index of the program",
        ),
    )


@check("CUD112", ERROR, cause="cudnn-mismatch")
def log_says_cudnn_mismatch(symptoms: Symptoms, stated: MaybeStated) -> Iterator[Finding]:
    """A log says that cuDNN is missing or another.

    cuDNN's parts must all be of one release, the one that the program was built with.

    ## Fix
    Install the cuDNN that torch pins, and take other copies out of the search path.

    ## Proof
    CUD-P4; `provision doctor --select CUD112` reads a new log.
    """
    yield from said(
        symptoms,
        stated,
        "cudnn-mismatch",
        (
            "pip install --force-reinstall 'nvidia-cudnn-cu12' torch   # the pair that torch pins",
            "unset LD_LIBRARY_PATH; ldconfig -p | grep cudnn",
        ),
        (
            "nvidia-smi   # memory full: cuDNN fails so too",
            "ldconfig -p | grep cudnn; echo $LD_LIBRARY_PATH",
        ),
    )


@check("CUD113", ERROR, cause="torch-arch-unsupported")
def log_says_no_code_for_gpu(symptoms: Symptoms, stated: MaybeStated) -> Iterator[Finding]:
    """A log says that a build has no code for the GPU.

    A wheel is compiled for a list of architectures. A card outside the list gets CUDA error 209. Where torch's list
    has the card, another library's build is at fault.

    ## Fix
    Install a build for the card's architecture.

    ## Proof
    CUD-P4; `provision doctor --select CUD113` reads a new log.
    """
    yield from said(
        symptoms,
        stated,
        "torch-arch-unsupported",
        (
            "python3 -c 'import torch; print(torch.cuda.get_arch_list(), torch.cuda.get_device_capability())'",
            "python3 -m pip install --force-reinstall torch --index-url INDEX   # of builds with code for this card",
        ),
        ("python3 -c 'import torch; print(torch.cuda.get_arch_list(), torch.cuda.get_device_capability())'",),
    )


@check("CUD114", ERROR, cause="torch-cpu-build")
def log_says_build_without_cuda(symptoms: Symptoms, stated: MaybeStated) -> Iterator[Finding]:
    """A log says that a build is without CUDA.

    CPU wheels come from another index or were pulled in by another package.

    ## Fix
    Install a CUDA build in the same environment.

    ## Proof
    CUD-P1; `provision doctor --select CUD114` reads a new log.
    """
    yield from said(
        symptoms,
        stated,
        "torch-cpu-build",
        ("python3 -m pip install --force-reinstall torch --index-url INDEX   # of CUDA builds",),
        (
            "python3 -c 'import torch; print(torch.__version__, torch.version.cuda)'   # None: a CPU build",
            "nvidia-smi",
        ),
    )


@check("CUD115", ERROR, cause="cuda-toolkit-missing-or-mismatch")
def log_says_toolkit_missing(symptoms: Symptoms, stated: MaybeStated) -> Iterator[Finding]:
    """A log says that a CUDA toolkit or library is missing or another.

    torch's wheels need no toolkit; programs that compile when they run, or were built against system libraries, do.
    Its major must be torch's.

    ## Fix
    Install the toolkit of torch's CUDA and set CUDA_HOME.

    ## Proof
    CUD-P4; `provision doctor --select CUD115` reads a new log.
    """
    yield from said(
        symptoms,
        stated,
        "cuda-toolkit-missing-or-mismatch",
        (
            "nvcc --version; python3 -c 'import torch; print(torch.version.cuda)'",
            "export CUDA_HOME=/usr/local/cuda-X.Y   # the release that torch was built with",
        ),
    )


@check("CUD116", ERROR, cause="bitsandbytes-cuda-setup")
def log_says_bitsandbytes_unfit(symptoms: Symptoms, stated: MaybeStated) -> Iterator[Finding]:
    """A log says that bitsandbytes finds no fitting library.

    bitsandbytes carries one library per CUDA release that it knows; for another it falls back to the CPU or fails.

    ## Fix
    Install a release that has torch's CUDA, or name one with BNB_CUDA_VERSION.

    ## Proof
    MEM-P1; `provision doctor --select CUD116` reads a new log.
    """
    yield from said(
        symptoms,
        stated,
        "bitsandbytes-cuda-setup",
        (
            "pip install -U bitsandbytes; python3 -m bitsandbytes",
            "BNB_CUDA_VERSION=124   # one that the release carries",
        ),
    )
