"""Known messages in a log's lines. The rules come with the table of symptoms; without one nothing is recognised."""

from __future__ import annotations

from collections.abc import Iterable

from provision.facts.symptoms import Symptoms
from provision.paste.clean import Line


def find(lines: Iterable[Line]) -> Symptoms:
    """Count the lines; there are no rules yet."""
    return Symptoms(found=(), lines=sum(1 for _ in lines))
