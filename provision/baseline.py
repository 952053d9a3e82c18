"""An earlier diagnosis to compare with: what was found then is marked, and only what is new fails.

A finding is known again by its code and its words, without the measurements in them: ``/ has 4.2 GiB free`` is the same
finding as ``/ has 3.9 GiB free``, and GPU 3 is not GPU 5. Two alike are known only where the baseline had two.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from provision.check import Finding, Result
from provision.errors import UsageError

# A number with a unit measures; one without may name a thing (GPU 3, port 8000), and a version does.
_MEASURED = re.compile(
    r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?\s?(?:[KMGTP]i?B|B|bytes|bit|%|GT|MT|[MG]Hz|W|°C|degrees|(?:free )?inodes"
    r"|ns|us|ms|s|seconds?|min|minutes?|h|hours?|days?)(?:/s)?(?!\w)"
)


def fingerprint(code: str, message: str) -> str:
    """What stays the same of a finding from run to run."""
    return f"{code} {_MEASURED.sub('#', message)}"


def read(path: Path) -> collections.Counter[str]:
    """The fingerprints of an earlier ``findings.json`` or ``provision doctor --format json``, with how many of each.

    Only what was found then counts: a waived finding whose waiver has ended is new. Raises ``UsageError``.
    """
    try:
        parsed: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _not_one(path, str(error)) from None
    try:
        if parsed["schema"] != 1:
            raise _not_one(path, f"schema {parsed['schema']!r}; this version reads 1")
        return collections.Counter(
            fingerprint(str(result["code"]), str(finding["message"]))
            for result in parsed["results"]
            if result["outcome"] == "found"
            for finding in result["findings"]
        )
    except (KeyError, TypeError) as error:
        raise _not_one(path, f"no {error} in it" if isinstance(error, KeyError) else "another shape") from None


def _not_one(path: Path, why: str) -> UsageError:
    return UsageError(f"{path}: no baseline: {why}", f"provision doctor --format json -o {path}")


def mark(results: Sequence[Result], baseline: collections.Counter[str]) -> tuple[Result, ...]:
    """The results with every finding that the baseline has marked as known."""
    left = baseline.copy()

    def marked(code: str, finding: Finding) -> Finding:
        name = fingerprint(code, finding.message)
        left[name] -= 1
        return dataclasses.replace(finding, known=left[name] >= 0)

    return tuple(
        dataclasses.replace(one, findings=tuple(marked(one.code, f) for f in one.findings))
        if one.outcome == "found"
        else one
        for one in results
    )
