"""Environment variables that change how models run. A secret's value never leaves the process."""

from __future__ import annotations

from provision.fact import fact

SET = "(set)"  # stands for a secret's value


@fact
class Environment:
    variables: tuple[tuple[str, str], ...]  # (name, value), sorted; only names on the list; a secret's value is "(set)"
