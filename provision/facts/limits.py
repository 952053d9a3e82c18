"""Limits that bite only under load: locked memory, open files, shared memory."""

from __future__ import annotations

from provision.fact import fact


@fact
class Limits:
    """Of the asking process, as a service started from this session would inherit them. None: unlimited."""

    memlock_soft_bytes: int | None
    memlock_hard_bytes: int | None
    nofile_soft: int | None
    nofile_hard: int | None


@fact
class SharedMemory:
    """/dev/shm, through which NCCL and data loaders hand tensors over."""

    total_bytes: int
    free_bytes: int
