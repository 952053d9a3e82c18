"""What a log says of disks, load times and folders."""

from __future__ import annotations

from collections.abc import Iterator

from provision.check import ERROR, Finding, check
from provision.checks._log import said
from provision.checks._pasted import MaybeStated
from provision.facts.symptoms import Symptoms


@check("STO100", ERROR, cause="disk-full")
def log_says_disk_full(symptoms: Symptoms, stated: MaybeStated) -> Iterator[Finding]:
    """A log says that a disk is full.

    Caches and images go to the home folder and /var by default, on the smallest disk of many machines.

    ## Fix
    Move the cache or free room.

    ## Proof
    STO-P1; `provision doctor --select STO100` reads a new log.
    """
    yield from said(
        symptoms,
        stated,
        "disk-full",
        (
            "df -h; df -i",
            "export HF_HOME=/data/huggingface   # a disk with room",
        ),
    )


@check("STO101", ERROR, cause="slow-storage")
def log_says_weights_load_slowly(symptoms: Symptoms, stated: MaybeStated) -> Iterator[Finding]:
    """A log says that the weights load slowly.

    Reading through memory maps over a network or from a spinning disk turns every page into a wait; memory below
    the checkpoint's size makes ranks read again.

    ## Fix
    A local NVMe disk, a plain sequential read, or more memory for the page cache.

    ## Proof
    STO-P1; `provision doctor --select STO101` reads a new log.
    """
    yield from said(
        symptoms,
        stated,
        "slow-storage",
        (
            "df -T PATH; cat /sys/block/*/queue/rotational",
            "copy the checkpoint to a local NVMe disk; vLLM: --safetensors-load-strategy",
        ),
    )


@check("STO102", ERROR, cause="permission-cache-dir")
def log_says_folder_not_writable(symptoms: Symptoms, stated: MaybeStated) -> Iterator[Finding]:
    """A log says that a cache folder cannot be written to.

    Caches lie in the home folder; in a container the user may have none, or the mounted one belongs to another.

    ## Fix
    Name a folder that the user may write to.

    ## Proof
    STO-P1; `provision doctor --select STO102` reads a new log.
    """
    yield from said(
        symptoms,
        stated,
        "permission-cache-dir",
        (
            "ls -ld PATH; id",
            "export HF_HOME=/path TRITON_CACHE_DIR=/path   # writable by this user",
        ),
    )
