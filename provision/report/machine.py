"""Results as JSON, for programs: the contract's shape."""

from __future__ import annotations

from collections.abc import Sequence

from provision import check, codec
from provision.cause import Cause
from provision.check import Result


def doctor(machine: str, results: Sequence[Result], causes: Sequence[Cause]) -> str:
    """``provision doctor --format json``."""
    return codec.dumps(
        {
            "schema": 1,
            "machine": machine,
            "summary": check.summary(results),
            "causes": codec.dump(tuple(causes)),
            "results": codec.dump(tuple(results)),
        }
    )
