"""Main memory, swap, and the control group limit under which this process really runs."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from provision.fact import Missing, fact, probe
from provision.host import Host, or_none


@fact
class Memory:
    total_bytes: int
    available_bytes: int  # the kernel's estimate of what can be had without swapping
    swap_total_bytes: int
    swap_free_bytes: int
    cgroup_limit_bytes: int | None  # the tightest limit on the way from our control group to the root; None: no limit
    limit_bytes: int  # the smaller of total_bytes and cgroup_limit_bytes


@probe
def memory(host: Host) -> Memory:
    """Memory and swap, and the control group's limit.

    Sources: ``/proc/meminfo``; ``/proc/self/cgroup`` and, from our own group up to the root, ``memory.max`` (version 2)
    or ``memory.limit_in_bytes`` (version 1, where "no limit" is a number larger than any machine).
    """
    sizes = {
        name: int(kib) * 1024 for name, kib in re.findall(r"^(\w+):\s+(\d+) kB$", host.read("/proc/meminfo"), re.M)
    }
    for name in ("MemTotal", "MemAvailable"):
        if name not in sizes:
            raise Missing(f"/proc/meminfo has no {name}")
    total = sizes["MemTotal"]
    limits = [limit for limit in _limits(host) if limit < total]
    return Memory(
        total_bytes=total,
        available_bytes=sizes["MemAvailable"],
        swap_total_bytes=sizes.get("SwapTotal", 0),
        swap_free_bytes=sizes.get("SwapFree", 0),
        cgroup_limit_bytes=min(limits, default=None),
        limit_bytes=min(limits, default=total),
    )


def _limits(host: Host) -> Iterator[int]:
    for line in (or_none(host.read, "/proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            roots, file = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"], "memory.max"
        elif "memory" in controllers.split(","):
            roots, file = ["/sys/fs/cgroup/memory"], "memory.limit_in_bytes"
        else:
            continue
        for root in roots:
            for folder in _upwards(path):  # in a container the path is the host's, and the limit stands at the root
                said = or_none(host.read, posixpath.normpath(f"{root}/{folder}/{file}"))
                if said is not None and said.strip().isdigit():  # version 2 says "max" for no limit
                    yield int(said)


def _upwards(path: str) -> Iterator[str]:
    while path not in ("", "/"):
        yield path.strip("/")
        path = posixpath.dirname(path)
    yield "."
