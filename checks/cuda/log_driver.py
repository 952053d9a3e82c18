"""What a log says of the driver and of what must be there before CUDA starts."""

from __future__ import annotations

from collections.abc import Iterator

from provision.check import ERROR, Finding, check
from provision.checks._log import said
from provision.checks._pasted import MaybeStated
from provision.facts.symptoms import Symptoms


@check("CUD100", ERROR, cause="driver-not-loaded")
def log_says_no_driver(symptoms: Symptoms, stated: MaybeStated) -> Iterator[Finding]:
    """A log says that no NVIDIA driver runs.

    The kernel module was never installed, was not built for the running kernel, was refused by Secure Boot, or
    another driver holds the card.

    ## Fix
    Read why the module does not load, install the headers of the running kernel, build it again, enrol its key, or
    forbid nouveau.

    ## Proof
    CUD-P2; `provision doctor --select CUD100` reads a new log.
    """
    yield from said(
        symptoms,
        stated,
        "driver-not-loaded",
        (
            "modprobe nvidia; dmesg | grep -i -e nvrm -e nouveau -e lockdown | tail",
            "mokutil --sb-state; dkms status",
        ),
        (
            "lsmod | grep -e nvidia -e nouveau",
            "cat /proc/driver/nvidia/version",
        ),
    )


@check("CUD101", ERROR, cause="nvml-driver-library-mismatch")
def log_says_versions_differ(symptoms: Symptoms, stated: MaybeStated) -> Iterator[Finding]:
    """A log says that the driver's library and module differ.

    After an upgrade the new library meets the old module, which stays loaded until it is unloaded.

    ## Fix
    Reboot, or stop every GPU program and load the module anew. In a container, remove stale library copies.

    ## Proof
    CUD-P2; `provision doctor --select CUD101` reads a new log.
    """
    yield from said(
        symptoms,
        stated,
        "nvml-driver-library-mismatch",
        (
            "reboot",
            "or: rmmod nvidia_uvm nvidia_drm nvidia_modeset nvidia && modprobe nvidia",
        ),
        ("cat /proc/driver/nvidia/version; ls -l /usr/lib/x86_64-linux-gnu/libnvidia-ml.so.*",),
    )


@check("CUD102", ERROR, cause="compat-package-shadow")
def log_says_compat_library_in_the_way(symptoms: Symptoms, stated: MaybeStated) -> Iterator[Finding]:
    """A log says that a compatibility libcuda stands in the way.

    The cuda-compat package lets a newer CUDA run on an older data-centre driver. On a GeForce card, or under a
    driver newer than it, its libcuda does not work (CUDA errors 803 and 804).

    ## Fix
    Take the compat folder out of LD_LIBRARY_PATH and ld.so.conf.d, so that the driver's own libcuda is loaded.

    ## Proof
    CUD-P2; `provision doctor --select CUD102` reads a new log.
    """
    yield from said(
        symptoms,
        stated,
        "compat-package-shadow",
        (
            "ldconfig -p | grep libcuda.so; echo $LD_LIBRARY_PATH",
            "unset LD_LIBRARY_PATH; rm -f /etc/ld.so.conf.d/*compat*; ldconfig",
        ),
        ("ldconfig -p | grep libcuda.so; cat /proc/driver/nvidia/version",),
    )


@check("CUD103", ERROR, cause="driver-too-old-for-cuda")
def log_says_driver_too_old(symptoms: Symptoms, stated: MaybeStated) -> Iterator[Finding]:
    """A log says that the driver is too old.

    Each CUDA major has an oldest driver; single calls and PTX need the driver of their own release.

    ## Fix
    Install a newer driver, or a build for the CUDA that the driver knows.

    ## Proof
    CUD-P4; `provision doctor --select CUD103` reads a new log.
    """
    yield from said(
        symptoms,
        stated,
        "driver-too-old-for-cuda",
        (
            "nvidia-smi   # its CUDA Version is the newest that this driver runs",
            "or: python3 -m pip install --force-reinstall torch --index-url INDEX   # of a CUDA that the driver runs",
        ),
    )


@check("CUD104", ERROR, cause="fabric-manager-not-running")
def log_says_fabric_not_ready(symptoms: Symptoms, stated: MaybeStated) -> Iterator[Finding]:
    """A log says that the NVSwitch fabric is not ready.

    On boards with NVSwitch CUDA starts only after the fabric manager, of exactly the driver's version, has set up
    the links (CUDA error 802).

    ## Fix
    Install the fabric manager of the driver's version and start it.

    ## Proof
    CUD-P2; `provision doctor --select CUD104` reads a new log.
    """
    yield from said(
        symptoms,
        stated,
        "fabric-manager-not-running",
        (
            "systemctl status nvidia-fabricmanager; systemctl enable --now nvidia-fabricmanager",
            "nvidia-smi -q | grep -A3 Fabric",
        ),
    )
