"""What a plan promises: the proofs that must run, and the numbers they are held to."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from provision import catalog
from provision.record import record


@record
class Promise:
    """One proof that must appear in ``proof.jsonl``, by its code, with the numbers it is held to."""

    code: str
    promised: dict[str, Any] = dataclasses.field(default_factory=dict)


@functools.cache
def figures() -> dict[str, Any]:
    """``catalog/smoke.toml``: the measured figures behind the promises, with where and when each was measured."""
    return catalog.read("smoke.toml")
