"""Results as SARIF 2.1.0, which GitHub code scanning and most editors read: a rule per check, a result per finding.

A finding has no line of code: it points at the first line of provision.toml, the file in which the machine is described
or the finding waived, and names the machine as its logical location. What could not be looked at is no result but a
notification of the tool, as the standard has it (section 3.20.21); a waived finding is suppressed with its reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from provision import __version__, check, codec
from provision.baseline import fingerprint
from provision.check import Finding, Result
from provision.report import machine as json_of
from provision.report.formats import Shown
from provision.report.layout import clean

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def document(shown: Shown) -> str:
    """``provision doctor --format sarif``."""
    run: dict[str, Any] = {
        "tool": {"driver": _driver(shown)},
        "automationDetails": {"id": f"provision/{clean(shown.machine)}/"},
        "invocations": [
            {
                "executionSuccessful": not any(r.outcome == "crashed" for r in shown.results),
                "toolExecutionNotifications": [_notification(one) for one in shown.results if _could_not(one)],
            }
        ],
        "columnKind": "unicodeCodePoints",
        "results": [
            _result(shown, rule, one, finding) for rule, one in enumerate(shown.results) for finding in _found(one)
        ],
    }
    return json_of.text({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]})


def _driver(shown: Shown) -> dict[str, Any]:
    check.load()
    return {
        "name": "provision",
        "version": __version__,
        "semanticVersion": __version__,
        "rules": [_rule(one) for one in shown.results],
    }


def _rule(one: Result) -> dict[str, Any]:
    known = check.CHECKS.get(one.code)
    page = known.page if known else one.name
    return {
        "id": one.code,
        "name": "".join(part.capitalize() for part in one.name.split("-")),
        "shortDescription": {"text": known.title if known else one.name},
        "fullDescription": {"text": " ".join(page.split("## ")[0].split())},
        "help": {"text": page, "markdown": page},
        "defaultConfiguration": {"level": one.severity},
        "properties": {"tags": [one.roadblock, one.cause]},
    }


def _found(one: Result) -> Iterator[Finding]:
    """What a rule found. A waived check that could not look has no finding: a notification says it."""
    if one.outcome in ("found", "accepted"):
        yield from one.findings


def _result(shown: Shown, rule: int, one: Result, finding: Finding) -> dict[str, Any]:
    lines = [clean(finding.message), *(f"Fix: {clean(command)}" for command in finding.fix)]
    lines += [f"Tell apart: {clean(command)}" for command in finding.tell_apart]
    print_ = hashlib.sha256(fingerprint(one.code, finding.message).encode("utf-8", "replace")).hexdigest()
    made: dict[str, Any] = {
        "ruleId": one.code,
        "ruleIndex": rule,
        "kind": "fail",
        "level": one.severity,
        "message": {"text": "\n".join(lines)},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": shown.spec_path, "uriBaseId": "%SRCROOT%"},
                    "region": {"startLine": 1},
                },
                "logicalLocations": [{"name": clean(shown.machine), "kind": "resource"}],
            }
        ],
        "partialFingerprints": {"provisionFinding/v1": print_},
        "properties": {
            "cause": one.cause,
            "roadblock": one.roadblock,
            "certainty": finding.certainty,
            "measured": codec.dump(dict(finding.measured)),
            "needed": codec.dump(dict(finding.needed)),
        },
    }
    if shown.baseline:
        made["baselineState"] = "unchanged" if finding.known else "new"
    if one.outcome == "accepted":
        made["suppressions"] = [{"kind": "external", "status": "accepted", "justification": clean(one.reason)}]
    return made


def _could_not(one: Result) -> bool:
    return one.outcome in ("unknown", "crashed") or (one.outcome == "accepted" and not one.findings) or bool(one.waiver)


def _notification(one: Result) -> dict[str, Any]:
    head = {"unknown": "could not look", "crashed": "crashed", "accepted": "accepted"}.get(one.outcome, "")
    said = ": ".join(part for part in (head, one.reason) if part)
    level = "error" if one.outcome == "crashed" else ("note" if one.outcome == "accepted" else "warning")
    return {
        "level": level,
        "message": {"text": clean("; ".join(part for part in (said, one.waiver) if part))},
        "associatedRule": {"id": one.code},
        "descriptor": {"id": one.outcome},
    }
