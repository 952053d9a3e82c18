"""The control group of this session: what it has been refused so far, and what it may have of processors and tasks."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import TypeVar

from provision.fact import Absent, fact, probe
from provision.facts.reading import text, whole
from provision.host import Host

Number = TypeVar("Number", int, float)


@fact
class ControlGroup:
    """The tightest numbers on the way from our group to the root. None: no limit, or not told."""

    oom_kills: int | None  # processes killed in our own group because it reached its memory limit
    memory_high_bytes: int | None  # above this the group is slowed down, long before it is killed (version 2 only)
    times_above_high: int | None
    cpus: float | None  # processors' worth of time: 2.0 with a quota of 200 ms in 100 ms
    throttled_periods: int | None  # of periods, the ones in which the quota was used up
    periods: int | None
    tasks: int | None
    tasks_limit: int | None


@probe
def control_group(host: Host) -> ControlGroup:
    """Memory, processor and task limits of our control group, and how often they were met.

    Sources: ``/proc/self/cgroup`` and, in version 2, ``memory.events``, ``memory.high``, ``cpu.max``, ``cpu.stat``,
    ``pids.*``; in version 1 ``memory.oom_control``, ``cpu.cfs_*``, ``cpu.stat``, ``pids.*``.
    """
    places = list(_places(host))
    if not places:
        raise Absent("no control group is mounted")
    memory, cpu, pids = (dict(places).get(name, []) for name in ("memory", "cpu", "pids"))
    events = _pairs(host, memory, "memory.events") or _pairs(host, memory, "memory.oom_control")
    stat = _pairs(host, cpu, "cpu.stat")
    return ControlGroup(
        oom_kills=events.get("oom_kill"),
        memory_high_bytes=_tightest(whole(host, f"{folder}/memory.high") for folder in memory),
        times_above_high=events.get("high"),
        cpus=_tightest(_cpus(host, folder) for folder in cpu),
        throttled_periods=stat.get("nr_throttled"),
        periods=stat.get("nr_periods"),
        tasks=whole(host, f"{pids[0]}/pids.current") if pids else None,
        tasks_limit=_tightest(whole(host, f"{folder}/pids.max") for folder in pids),
    )


def _places(host: Host) -> Iterator[tuple[str, list[str]]]:
    """(controller, folders from our own group up to the root) for memory, cpu and pids; the last said wins."""
    for line in (text(host, "/proc/self/cgroup") or "").splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers:
            for name in {"memory", "cpu", "pids"} & set(controllers.split(",")):
                yield name, _existing(host, f"/sys/fs/cgroup/{name}", path)
            continue
        folders = _existing(host, "/sys/fs/cgroup", path)
        if folders and host.exists("/sys/fs/cgroup/cgroup.controllers"):
            for name in ("memory", "cpu", "pids"):
                yield name, folders


def _existing(host: Host, root: str, path: str) -> list[str]:
    steps = [path.strip("/")]
    while steps[-1]:
        steps.append(posixpath.dirname(steps[-1]))
    return [folder for folder in (posixpath.normpath(f"{root}/{step}") for step in steps) if host.exists(folder)]


def _pairs(host: Host, folders: list[str], name: str) -> dict[str, int]:
    said = text(host, f"{folders[0]}/{name}") if folders else None
    return {key: int(value) for key, value in re.findall(r"^(\w+) (\d{1,19})$", said or "", re.MULTILINE)}


def _cpus(host: Host, folder: str) -> float | None:
    said = (text(host, f"{folder}/cpu.max") or "").split()
    if len(said) == 2 and all(word.isdigit() for word in said) and int(said[1]):
        return round(int(said[0]) / int(said[1]), 3)
    quota, period = whole(host, f"{folder}/cpu.cfs_quota_us"), whole(host, f"{folder}/cpu.cfs_period_us")
    return round(quota / period, 3) if quota and period and quota > 0 else None


def _tightest(values: Iterator[Number | None]) -> Number | None:
    return min((value for value in values if value is not None), default=None)
