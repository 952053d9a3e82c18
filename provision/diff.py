"""What differs between two machines, the likeliest reason first: one that works and one that does not.

A difference counts most when it alone changes what a check says: the fact is put from one snapshot into the other and the
machine judged again. Then come facts that such a check reads, then versions, then the rest. Last comes what changes by
itself from one minute to the next (free memory, temperatures, numbers of tasks): it differs on a machine from itself, and
is a reason only where it alone turns a check.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any, Literal

from provision import check, codec, road
from provision.fact import Absent, NotKnown, Snapshot
from provision.spec import Spec

Why = Literal["changes a check", "read by such a check", "version", "other", "changes by itself"]
WHYS: tuple[Why, ...] = ("changes a check", "read by such a check", "version", "other", "changes by itself")
_SEVERITY = ("error", "warning", "note")
# By which field records of a list are told apart, where one of them has it.
_NAMES = ("uuid", "pci_address", "address", "mount_point", "prefix", "path", "name", "unit", "kind", "index", "id")
_VERSION = re.compile(r"version|release|kernel$|glibc|torch|cuda$|\.packages\.|capability")
_IDENTITY = re.compile(r"(^|[._])(hostname|uuid|serial|pid|machine_id)$")  # differs between any two machines
_BAD = ("found", "unknown", "crashed")
# Fields of facts, wherever they stand in it, that differ between two looks at one machine. Counts of errors are not among
# them: they change only where something happened.
VOLATILE: dict[str, frozenset[str]] = {
    "Clock": frozenset({"error_us"}),
    "ControlGroup": frozenset({"periods", "tasks", "throttled_periods", "times_above_high"}),
    "Daemons": frozenset({"pid"}),
    "Docker": frozenset({"data_root_free_bytes"}),
    "GpuClocks": frozenset({"celsius", "memory_celsius", "memory_mhz", "power_mw", "reasons", "sm_mhz"}),
    "GpuModes": frozenset({"processes", "used_bytes"}),
    "Gpus": frozenset({"memory_free_bytes", "pcie_generation", "process_count"}),
    "KernelCounters": frozenset({"connections", "open_files", "tasks"}),
    "Memory": frozenset({"available_bytes", "swap_free_bytes"}),
    "MemorySettings": frozenset({"committed_bytes", "reserved_free_bytes", "stalled_percent", "used_bytes"}),
    "Mounts": frozenset({"free_bytes", "inodes_free"}),
    "Numa": frozenset({"free_bytes"}),
    "NvidiaCards": frozenset({"link_mts"}),
    "NvmeControllers": frozenset({"link_mts", "temperature_c"}),
    "PciPaths": frozenset({"uptime_seconds"}),
    "ProcessLimits": frozenset({"tasks_now"}),
    "SharedMemory": frozenset({"free_bytes"}),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Flip:
    """A check that says something else on the other machine."""

    code: str
    name: str
    severity: check.Severity
    cause: str
    a: check.Outcome
    b: check.Outcome


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """A field of a fact that differs; "" for ``field`` where the whole fact is known on one side alone.

    ``a`` and ``b`` are JSON values; None where that machine has no such thing. ``flips``: what the fact alone changes.
    """

    fact: str
    field: str
    a: Any
    b: Any
    why: Why
    flips: tuple[Flip, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """Two machines: what the doctor says differently, and which facts differ, likeliest reason first."""

    a: str
    b: str
    checks: tuple[Flip, ...]
    differences: tuple[Difference, ...]


def compare(a: Snapshot, b: Snapshot, spec: Spec, today: str) -> Comparison:
    """Compare two snapshots under one spec."""
    judged_a, judged_b = _judged(a, spec, today), _judged(b, spec, today)
    flips = _flips(judged_a, judged_b)
    names = sorted(set(a.facts) | set(b.facts))
    fields = {name: list(_fields(a.facts.get(name), b.facts.get(name))) for name in names}
    fields = {name: those for name, those in fields.items() if those}
    read_by = {kind.__name__ for one in flips for _, kind, _ in check.CHECKS[one.code].needs}
    swap = _Swap(a, b, judged_a, judged_b, flips, spec, today)
    made = [d for name, those in fields.items() for d in _of_fact(name, those, swap, read_by)]
    ordered = sorted(made, key=lambda d: (WHYS.index(d.why), _gravest(d.flips), d.fact, d.field))
    return Comparison(a.machine, b.machine, flips, tuple(ordered))


def as_json(made: Comparison) -> dict[str, Any]:
    """``provision diff --json``."""
    return {"schema": 1, **codec.dump(made)}


def _judged(snapshot: Snapshot, spec: Spec, today: str) -> tuple[check.Result, ...]:
    return road.diagnose(snapshot, spec, today=today).results


def _flips(a: tuple[check.Result, ...], b: tuple[check.Result, ...]) -> tuple[Flip, ...]:
    """Checks of which one machine's outcome is bad and the other's another; gravest first."""
    made = [
        Flip(one.code, one.name, one.severity, one.cause, one.outcome, other.outcome)
        for one, other in zip(a, b, strict=True)
        if one.outcome != other.outcome and (one.outcome in _BAD or other.outcome in _BAD)
    ]
    return tuple(sorted(made, key=lambda f: (_SEVERITY.index(f.severity), f.code)))


@dataclasses.dataclass(frozen=True, slots=True)
class _Swap:
    """Both machines as they were judged, to put a part of one into the other."""

    a: Snapshot
    b: Snapshot
    judged_a: tuple[check.Result, ...]
    judged_b: tuple[check.Result, ...]
    flips: tuple[Flip, ...]
    spec: Spec
    today: str

    def alone(self, name: str, field: str = "") -> tuple[Flip, ...]:
        """The checks that say something else where only this fact, or this field of it, comes from the other machine."""
        if not self.flips:
            return ()
        turned: set[str] = set()
        for own, other, before in ((self.a, self.b, self.judged_a), (self.b, self.a, self.judged_b)):
            facts = {**own.facts, name: _part(own.facts.get(name), other.facts.get(name), field)}
            facts = {key: value for key, value in facts.items() if value is not None}
            after = _judged(Snapshot(own.machine, facts, own.tool_version), self.spec, self.today)
            turned |= {flip.code for flip in _flips(before, after)}
        return tuple(flip for flip in self.flips if flip.code in turned)


def _part(own: Any, other: Any, field: str) -> Any:
    return dataclasses.replace(own, **{field: getattr(other, field)}) if field else other


def _of_fact(name: str, fields: list[tuple[str, Any, Any]], swap: _Swap, read_by: set[str]) -> Iterator[Difference]:
    """The differences of one fact. Where single fields turn a check, the others of the fact are not blamed."""
    whole = swap.alone(name)
    tops = sorted({field.partition(".")[0] for field, _, _ in fields} - {""})
    single = {top: swap.alone(name, top) for top in tops} if whole else {}
    for field, a, b in fields:
        own = single[field.partition(".")[0]] if any(single.values()) else whole
        yield Difference(name, field, a, b, _why(name, field, own, read_by), own)


def _why(name: str, field: str, flips: tuple[Flip, ...], read_by: set[str]) -> Why:
    if flips:
        return "changes a check"
    if VOLATILE.get(name, frozenset()) & set(field.split(".")):
        return "changes by itself"
    if _IDENTITY.search(field):
        return "other"
    if name in read_by:
        return "read by such a check"
    return "version" if _VERSION.search(f"{name}.{field}".lower()) else "other"


def _gravest(flips: tuple[Flip, ...]) -> tuple[int, int, int]:
    """A change to or from a finding before one of what could be looked at; then by severity, then the fewer the surer."""
    found = any("found" in (f.a, f.b) for f in flips)
    return (not found, min((_SEVERITY.index(f.severity) for f in flips), default=len(_SEVERITY)), len(flips))


def _fields(a: Any, b: Any) -> Iterator[tuple[str, Any, Any]]:
    """(path, a, b) of what differs in one fact."""
    if a is None or b is None or isinstance(a, NotKnown) or isinstance(b, NotKnown):
        if a != b:
            yield "", _said(a), _said(b)
        return
    yield from _unequal("", codec.dump(a), codec.dump(b))


def _said(value: Any) -> Any:
    if isinstance(value, NotKnown):
        return {"absent" if isinstance(value, Absent) else "missing": value.reason}
    return None if value is None else codec.dump(value)


def _unequal(path: str, a: Any, b: Any) -> Iterator[tuple[str, Any, Any]]:
    if a == b:
        return
    left, right = _named(a), _named(b)
    if left is None or right is None or not (left or right):
        yield path, a, b
        return
    for key in dict.fromkeys((*left, *right)):
        yield from _unequal(f"{path}.{key}" if path else key, left.get(key), right.get(key))


def _named(value: Any) -> dict[str, Any] | None:
    """A value's parts by name: of a table, of records that have one, of (name, value) pairs; None for what is whole."""
    if isinstance(value, dict):
        return value
    if not isinstance(value, list):
        return None
    if all(isinstance(item, list) and len(item) == 2 and isinstance(item[0], str) for item in value):
        keyed = {item[0]: item[1] for item in value}
    elif all(isinstance(item, dict) for item in value):
        name = next((n for n in _NAMES if all(n in item for item in value)), "")
        keyed = {str(item.get(name, i)): item for i, item in enumerate(value)}
    else:
        return None
    return keyed if len(keyed) == len(value) else None
