"""Main memory, swap, and the control group limit under which this process really runs."""

from __future__ import annotations

from provision.fact import fact


@fact
class Memory:
    total_bytes: int
    available_bytes: int  # the kernel's estimate of what can be had without swapping
    swap_total_bytes: int
    swap_free_bytes: int
    cgroup_limit_bytes: int | None  # the tightest limit on the way from our control group to the root; None: no limit
    limit_bytes: int  # the smaller of total_bytes and cgroup_limit_bytes
