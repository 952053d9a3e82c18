"""What a pasted log says is wrong: which known messages stand in it. No probe makes it."""

from __future__ import annotations

from provision.fact import fact, pasted
from provision.record import record


@record
class Symptom:
    rule: str  # the row of provision/catalog/symptoms.toml that matched
    line: int  # where it stood in the log, from 1
    text: str  # the line, cleaned
    captures: tuple[tuple[str, str], ...] = ()  # what the row's pattern named ("code", "79")


@pasted
@fact
class Symptoms:
    found: tuple[Symptom, ...]  # in the log's order
    lines: int  # how many lines were read
