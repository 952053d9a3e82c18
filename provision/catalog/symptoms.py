"""The table of known messages: what programs print, and which cause each speaks for. Data in ``symptoms.toml``."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any, Literal, NamedTuple

import tomllib


class Pattern(NamedTuple):
    """``anchor``: a literal, in lower case, that a line must hold; ``regex``: what must match then, or empty."""

    anchor: str
    regex: str


class Rule(NamedTuple):
    """One family of messages. ``say``: what it means; ``{line}`` and named groups of the pattern are filled in."""

    id: str
    cause: str
    patterns: tuple[Pattern, ...]
    unless: tuple[str, ...]
    certainty: Literal["certain", "likely", "possible"]
    say: str
    source: str
    date: str


@functools.cache
def rules() -> Mapping[str, Rule]:
    """Every row by its id, in the file's order. Not through the codec: that would cost a tenth of the doctor's time."""
    text = (resources.files("provision.catalog") / "symptoms.toml").read_text(encoding="utf-8")
    return {row["id"]: _rule(row) for row in tomllib.loads(text)["row"]}


def _rule(row: Mapping[str, Any]) -> Rule:
    patterns = []
    for text in row["match"]:
        anchor, _, regex = text.partition(" => ")
        patterns.append(Pattern(anchor, regex))
    return Rule(
        row["id"], row["cause"], tuple(patterns), tuple(row.get("not", ())), row.get("certainty", "certain"),
        row["say"], row["source"], row["date"],
    )  # fmt: skip


@functools.cache
def compiled(regex: str) -> re.Pattern[str]:
    """A pattern, compiled when the first line that holds its anchor comes."""
    return re.compile(regex, re.IGNORECASE)
