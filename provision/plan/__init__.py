"""The desired state: one frozen section per obstacle, each from a pure ``desire()``.

The plan is what is right for this machine, not a list of repairs: a machine that is already right gets the same plan
as one that is not, and planning after applying changes nothing (tests/test_plan.py, on every section).
"""

from __future__ import annotations

import dataclasses
from typing import Any

from provision import codec
from provision.fact import Missing, NotKnown, Snapshot
from provision.plan.audit import Audit
from provision.plan.cuda import Cuda
from provision.plan.dependencies import Dependencies
from provision.plan.dependencies.serving import ServingLock
from provision.plan.fragmentation import Fragmentation
from provision.plan.gpu_memory import GpuMemory
from provision.plan.gpu_memory.serving import CardUse, Serving
from provision.plan.isolation import Isolation
from provision.plan.latency import Latency
from provision.plan.promise import Promise
from provision.plan.rollout import Rollout
from provision.plan.storage import Storage, Volume
from provision.record import record
from provision.spec import Spec

SCHEMA = 1
SECTIONS: tuple[type[Any], ...] = (
    GpuMemory,
    Storage,
    Cuda,
    Dependencies,
    Latency,
    Fragmentation,
    Isolation,
    Audit,
    Rollout,
)


@record
class Plan:
    """``plan.json``: the sections, and which proofs there must be with what they promise."""

    schema: int = SCHEMA
    machine: str
    model: str
    gpu_memory: GpuMemory
    storage: Storage
    cuda: Cuda
    dependencies: Dependencies
    latency: Latency
    fragmentation: Fragmentation
    isolation: Isolation
    audit: Audit
    rollout: Rollout
    proofs: tuple[Promise, ...]

    @property
    def way_out(self) -> tuple[str, ...]:
        """What would help where no lock can work: for the smoke test on the cards, then for serving. Empty where all has one."""
        serving = self.dependencies.serving
        return tuple(dict.fromkeys((*self.cuda.way_out, *(serving.way_out if serving else ()))))

    @property
    def has_locks(self) -> bool:
        """Whether what is to run has a lock that can work: the smoke test on the cards, and the model to be served."""
        serving = self.dependencies.serving
        return not self.cuda.way_out and (serving is None or bool(serving.lock))

    @property
    def digest(self) -> str:
        """The plan's identity: what consent is bound to."""
        return codec.digest(self)


def make(snapshot: Snapshot, spec: Spec, previous: Plan | None = None) -> Plan:
    """The desired state of the machine behind ``snapshot``.

    ``previous`` is the last plan applied there. Raises ``Missing`` where a fact that a section stands on is not known.
    """
    cuda = Cuda.desire(snapshot, spec)
    storage = Storage.desire(snapshot, spec, cuda)
    more = storage.volume.packages if storage.volume else ()
    gpu_memory = GpuMemory.desire(snapshot, spec, cuda)
    dependencies = Dependencies.desire(snapshot, spec, cuda, Audit.desire(), more, gpu_memory.runs_in)
    sections: dict[str, Any] = {
        "gpu_memory": gpu_memory,
        "storage": storage,
        "cuda": cuda,
        "dependencies": dependencies,
        "latency": Latency.desire(cuda),
        "fragmentation": Fragmentation.desire(),
        "isolation": Isolation.desire(),
        "audit": Audit.desire(),
        "rollout": Rollout.desire(spec, cuda, dependencies, previous.rollout if previous else None),
    }
    proofs = tuple(sorted((p for s in sections.values() for p in s.promises()), key=lambda p: p.code))
    return Plan(machine=spec.machine.name or snapshot.machine, model=spec.model.name, proofs=proofs, **sections)


def sections(plan: Plan | NotKnown, spec: Spec) -> dict[type, Any]:
    """What checks may ask for by type: every section (or why there is no plan), and the spec."""
    if isinstance(plan, NotKnown):
        reason = Missing(f"no plan could be made: {plan.reason}")
        return {Spec: spec, **dict.fromkeys(SECTIONS, reason)}
    by_type = {type(getattr(plan, f.name)): getattr(plan, f.name) for f in dataclasses.fields(plan)}
    return {Spec: spec, **{kind: by_type[kind] for kind in SECTIONS}}


__all__ = [
    "SCHEMA",
    "SECTIONS",
    "Audit",
    "CardUse",
    "Cuda",
    "Dependencies",
    "Fragmentation",
    "GpuMemory",
    "Isolation",
    "Latency",
    "Plan",
    "Promise",
    "Rollout",
    "Serving",
    "ServingLock",
    "Storage",
    "Volume",
    "make",
    "sections",
]
