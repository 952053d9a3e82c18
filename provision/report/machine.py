"""Results as JSON, for programs: the contract's shape, which ``catalog/doctor.schema.json`` states for any validator."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from provision import catalog, check, codec
from provision.cause import Cause
from provision.check import Result

SCHEMA = 1


def document(machine: str, results: Sequence[Result], causes: Sequence[Cause]) -> dict[str, Any]:
    """``findings.json`` and ``provision doctor --format json`` as JSON values, keys in the contract's order."""
    return {
        "schema": SCHEMA,
        "machine": machine,
        "summary": check.summary(results),
        "causes": [
            {
                "cause": one.cause,
                "codes": list(one.codes),
                "severity": one.severity,
                "certainty": one.certainty,
                "tell_apart": list(one.tell_apart),
                "because": list(one.because),
                "fix": list(one.fix),
                "also": list(one.also),
            }
            for one in causes
        ],
        "results": [_result(one) for one in results],
    }


def _result(one: Result) -> dict[str, Any]:
    waiver = {"waiver": one.waiver} if one.waiver else {}
    return {
        "code": one.code,
        "name": one.name,
        "roadblock": one.roadblock,
        "severity": one.severity,
        "cause": one.cause,
        "outcome": one.outcome,
        "reason": one.reason,
        "findings": [
            {
                "message": finding.message,
                "measured": codec.dump(dict(finding.measured)),
                "needed": codec.dump(dict(finding.needed)),
                "fix": list(finding.fix),
                **({"known": True} if finding.known else {}),
            }
            for finding in one.findings
        ],
        **waiver,
    }


def doctor(machine: str, results: Sequence[Result], causes: Sequence[Cause]) -> str:
    """``provision doctor --format json``."""
    return text(document(machine, results, causes))


def explain(word: str | None = None) -> str:
    """``provision explain --json``: every page, or those of a code, a name or a cause."""
    from provision import page

    return page.as_json(word)


def text(value: Any) -> str:
    """JSON in ASCII: any terminal's encoding can carry it. Halves of undecodable bytes, which no parser takes, become ?."""
    written = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    return json.dumps(json.loads(written.encode("utf-8", "replace")), indent=2) + "\n"


def schema() -> dict[str, Any]:
    """The JSON schema of ``document``."""
    content = (catalog.FOLDER / "doctor.schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(content)
    return loaded
