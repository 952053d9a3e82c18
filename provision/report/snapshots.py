"""What is told of snapshots: what two of them differ in, and what was replaced in one before it is shared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from provision.diff import Comparison, Difference
from provision.report.layout import PLAIN, Style, clean, plural, prose, table
from provision.report.quantity import quantity

SHOWN = 15  # differences of one kind on the screen; all of them are in --json
NAMED = 6  # of those that change by themselves
VALUE = 60  # characters of one side
HEADS = {
    "changes a check": "alone changes what a check says",
    "read by such a check": "read by a check that says something else",
    "version": "versions",
    "other": "the rest",
}


def difference(made: Comparison, style: Style = PLAIN) -> str:
    """``provision diff``: one screen, the likeliest reason first; what changes by itself is counted and named, not shown."""
    moving = [d for d in made.differences if d.why == "changes by itself"]
    lines = [f"A is {clean(made.a)}, B is {clean(made.b)}: {plural(len(made.differences) - len(moving), 'difference')}"]
    lines += ["", style.paint("what the doctor says differently", "head")] if made.checks else []
    lines += table([(f"{f.code} {f.name}", f"{f.a} in A, {f.b} in B", f.cause) for f in made.checks[:SHOWN]])
    lines += [f"  and {len(made.checks) - SHOWN} more: --json"] if len(made.checks) > SHOWN else []
    for why, head in HEADS.items():
        those = [d for d in made.differences if d.why == why]
        if those:
            lines += ["", style.paint(head, "head"), *table([_row(d) for d in those[:SHOWN]])]
        if len(those) > SHOWN:
            lines.append(f"  and {len(those) - SHOWN} more: --json")
    if len(moving) == len(made.differences):
        lines += ["", "Nothing differs."]
    if moving:
        names = [_field(d) for d in moving]
        named = ", ".join(names[:NAMED]) + (f", and {len(names) - NAMED} more" if len(names) > NAMED else "")
        lines += ["", *prose(f"left out, for it changes by itself (--json has it): {named}", style, "  ", "")]
    return "\n".join(lines) + "\n"


def _field(one: Difference) -> str:
    return f"{one.fact}.{one.field}" if one.field else one.fact


def _row(one: Difference) -> tuple[str, ...]:
    codes = f"  [{', '.join(f.code for f in one.flips)}]" if one.flips else ""
    return _field(one), f"A {_side(one, one.a)}", f"B {_side(one, one.b)}{codes}"


def _side(one: Difference, value: Any) -> str:
    if value is None:
        return "has none"
    if isinstance(value, dict) and len(value) == 1 and (reason := value.get("absent") or value.get("missing")):
        return f"{'not there' if 'absent' in value else 'could not look'}: {reason}"
    said = quantity(one.field.rsplit(".", maxsplit=1)[-1], value)
    return said if len(said) <= VALUE else f"{said[:VALUE]}…"


def replaced(made: Mapping[str, Mapping[str, str]]) -> str:
    """``provision facts --share``, for standard error: what stands for what. A secret itself is not said again."""
    if not any(made.values()):
        return "Nothing had to be replaced.\n"
    lines = ["Replaced, each by the same stand-in wherever it stood; read the file before you give it away:"]
    for kind, pairs in sorted(made.items()):
        secret = kind in ("token", "login")
        lines += table([(kind, "a secret" if secret else real, f"-> {stand_in}") for real, stand_in in pairs.items()])
    return "\n".join(lines) + "\n"
