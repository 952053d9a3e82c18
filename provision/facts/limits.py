"""Limits that bite only under load: locked memory, open files, shared memory."""

from __future__ import annotations

from provision.fact import fact, probe
from provision.host import Host

_UNLIMITED = -1  # resource.RLIM_INFINITY
_SHARED = "/dev/shm"  # noqa: S108 (the thing looked at, no file of ours)


@fact
class Limits:
    """Of the asking process, as a service started from this session would inherit them. None: unlimited."""

    memlock_soft_bytes: int | None
    memlock_hard_bytes: int | None
    nofile_soft: int | None
    nofile_hard: int | None


@fact
class SharedMemory:
    """The file system at /dev/shm, through which NCCL and data loaders hand tensors over."""

    total_bytes: int
    free_bytes: int


@probe
def limits(host: Host) -> Limits:
    """Locked memory and open files of this process, soft and hard.

    Source: ``getrlimit``. A container or a service has its own: these are the session's.
    """
    said = host.user()["limits"]
    memlock_soft, memlock_hard = (None if value == _UNLIMITED else int(value) for value in said["memlock"])
    nofile_soft, nofile_hard = (None if value == _UNLIMITED else int(value) for value in said["nofile"])
    return Limits(
        memlock_soft_bytes=memlock_soft,
        memlock_hard_bytes=memlock_hard,
        nofile_soft=nofile_soft,
        nofile_hard=nofile_hard,
    )


@probe
def shared_memory(host: Host) -> SharedMemory:
    """Size of ``/dev/shm`` and what is left of it.

    Source: ``statvfs``. Docker gives a container 64 MB unless it is told otherwise.
    """
    room = host.statvfs(_SHARED, may_hang=False)
    return SharedMemory(
        total_bytes=room["blocks"] * room["block_size"], free_bytes=room["available_blocks"] * room["block_size"]
    )
