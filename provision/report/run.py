"""What a report of one run is made from. Changes and proofs are the lines of ``apply.jsonl`` and ``proof.jsonl``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

from provision.cause import Cause
from provision.check import Result
from provision.fact import Snapshot
from provision.plan import Serving
from provision.record import record

GPU_NOT_RUN = "GPU path: not yet run on hardware"


class Change(TypedDict):
    """One managed thing of ``apply.jsonl``. ``changed`` is false where it was already right.

    ``diff``: what Ansible showed of a file.
    """

    what: str
    kind: str
    changed: bool
    detail: str
    diff: NotRequired[str]


class Proof(TypedDict):
    """One line of ``proof.jsonl``. ``reason`` is there when the proof could not run or does not hold."""

    code: str
    name: NotRequired[str]
    roadblock: str
    proved: bool
    promised: Mapping[str, Any]
    measured: Mapping[str, Any]
    seconds: float
    reason: NotRequired[str]


@record
class Run:
    """One run of ``provision up`` or ``verify``.

    ``results`` and ``causes`` are the machine as it is now; ``before`` are the causes found before anything was
    changed. ``seconds`` maps a stage to how long it took, in the order they ran. ``gpu_ran``: the proofs ran on a
    real card. ``about`` is shown as it is given (who, when, plan hash, tool version). ``serving``: the planned model.
    """

    machine: str
    results: Sequence[Result] = ()
    causes: Sequence[Cause] = ()
    before: Sequence[Cause] = ()
    changes: Sequence[Change] = ()
    proofs: Sequence[Proof] = ()
    seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    gpu_ran: bool = False
    directory: str = ""
    about: Mapping[str, str] = dataclasses.field(default_factory=dict)
    facts: Snapshot | None = None
    serving: Serving | None = None

    @property
    def repaired(self) -> tuple[Cause, ...]:
        """The causes that were found before the changes and are gone now."""
        left = {c.cause for c in self.causes}
        return tuple(c for c in self.before if c.cause not in left)

    @property
    def changed(self) -> tuple[Change, ...]:
        """What this run changed."""
        return tuple(c for c in self.changes if c["changed"])

    @property
    def unproved(self) -> tuple[Proof, ...]:
        """The proofs that do not hold or could not run."""
        return tuple(p for p in self.proofs if not p["proved"])
