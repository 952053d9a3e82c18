"""One message of a log as evidence: what it is, what was heard and stated beside it, and what it then speaks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from provision.catalog.symptoms import Rule
from provision.facts.stated import Stated
from provision.facts.symptoms import Symptom

Certainty = Literal["certain", "likely", "possible"]


class Said(NamedTuple):
    """One message, what it speaks for and how surely."""

    cause: str
    certainty: Certainty
    rule: str
    message: str
    line: int


class Case(NamedTuple):
    """One message to be weighed: its row, what was heard beside it (itself included), and what was stated."""

    rule: Rule
    symptom: Symptom
    beside: tuple[Symptom, ...]
    stated: Stated

    def one(self, cause: str, certainty: Certainty) -> Said:
        """This message as evidence of ``cause``."""
        return Said(cause, certainty, self.rule.id, _message(self.rule, self.symptom), self.symptom.line)

    @property
    def heard(self) -> set[str]:
        """The ids of the rows that were heard."""
        return {symptom.rule for symptom in self.beside}

    def as_it_stands(self) -> list[Said]:
        """What the row alone says."""
        return [self.one(self.rule.cause, self.rule.certainty)]

    @property
    def about_the_program(self) -> bool:
        """Whether the text says that another version of the program began it, or only wishes for something.

        What is told in free words is then no evidence of the machine.
        """
        return bool(self.heard & {"regression", "request"})

    def only_heard(self) -> list[Said]:
        """Nothing: it says where in its life a program was, or since when, and is evidence of no cause alone."""
        return []

    def unless_about_the_program(self) -> list[Said]:
        """What the row says, where the text is about a machine."""
        return [self.one(self.rule.cause, "possible")] if self.about_the_program else self.as_it_stands()

    @property
    def captures(self) -> dict[str, str]:
        """What the row's pattern named."""
        return dict(self.symptom.captures)


Settle = Callable[[Case], list[Said]]


def _message(rule: Rule, symptom: Symptom) -> str:
    text = symptom.text if len(symptom.text) <= 160 else symptom.text[:157] + "…"
    filled = rule.say.replace("{line}", text)
    for name, value in symptom.captures:
        filled = filled.replace("{" + name + "}", value)
    return f"line {symptom.line}: {filled}"
