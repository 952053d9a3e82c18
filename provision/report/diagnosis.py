"""The blocks that the doctor's screen and the end report share: causes, what could not be looked at, what is waived."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Sequence

from provision import cause
from provision.cause import Cause
from provision.check import Result, Severity
from provision.fact import NOT_PASTED
from provision.report.layout import Style, clean, item, plural, prose

CODES_SHOWN = 6  # of one reason: a machine without a driver has thirty checks that could not look, for one reason
REASONS_SHOWN = 8


def verdict(causes: Iterable[Cause], results: Sequence[Result]) -> str:
    """``2 causes: 1 error, 1 warning``. ``nothing wrong`` is said only of a machine at which every check could look."""
    found = list(causes)
    blind = [r.reason for r in results if r.outcome in ("unknown", "crashed")]
    if not found and not blind:
        return "nothing wrong"
    if not found:
        pasted = set(blind) == {NOT_PASTED}
        return (
            "nothing found in what was pasted"
            if pasted
            else f"nothing found; {plural(len(blind), 'check')} could not look"
        )
    counts = [(sum(c.severity == severity for c in found), severity) for severity in typing.get_args(Severity)]
    return f"{plural(len(found), 'cause')}: " + ", ".join(plural(n, severity) for n, severity in counts if n)


def line_of(name: str) -> str:
    """The cause in words, from the table; "" for a cause that an older table does not have."""
    row = cause.table().get(name)
    return row.line if row else ""


def in_baseline(one: Cause, results: Sequence[Result]) -> bool:
    """All of a cause's findings were there in the baseline."""
    own = [r for r in results if r.code in one.codes]
    return bool(own) and all(r.known for r in own)


def cause_block(one: Cause, results: Sequence[Result], style: Style) -> list[str]:
    """A cause with its evidence, its fix and what follows from it."""
    told = "" if one.certainty == "certain" else f" ({one.certainty})"
    told += " (in the baseline)" if in_baseline(one, results) else ""
    head = f"{style.paint(one.severity, one.severity)}: {style.paint(clean(one.cause), 'head')}{told}"
    outcomes = {r.code: r for r in results}
    also = [_symptom(code, outcomes.get(code)) for code in followers(one, results)]
    return [
        f"{head} [{', '.join(one.codes)}]",
        *(prose(line, style, "  ") if (line := line_of(one.cause)) else ()),
        *item("because", one.because, style),
        *item("fix", one.fix, style, wrap=False),
        *item("tell apart", one.tell_apart, style, wrap=False),
        *item("also", _shortened(also, CODES_SHOWN), style),
        "",
    ]


def _symptom(code: str, result: Result | None) -> str:
    if result is None:
        return code
    return f"{code} {result.name}" + (" (could not look)" if result.outcome == "unknown" else "")


def followers(one: Cause, results: Sequence[Result]) -> tuple[str, ...]:
    """The codes of what follows from a cause, as a reader wants them.

    On a machine a check that could not look because of the cause belongs to it. Of a pasted text it only says that
    nothing else was pasted, whatever the cause: that is said once, with how many checks it left in the dark.
    """
    unstated = {r.code for r in results if r.outcome == "unknown" and r.reason == NOT_PASTED}
    return tuple(code for code in one.also if code not in unstated)


def blind_reasons(results: Sequence[Result], causes: Sequence[Cause]) -> list[tuple[str, list[Result]]]:
    """What could not be looked at and no cause explains, by its reason; the reason that blinds most checks first."""
    explained = {code for one in causes for code in followers(one, results)}
    by_reason: dict[str, list[Result]] = {}
    for one in results:
        if one.outcome == "unknown" and one.code not in explained:
            by_reason.setdefault(one.reason, []).append(one)
    return sorted(by_reason.items(), key=lambda entry: (-len(entry[1]), entry[1][0].code))


def unpasted(those: Sequence[Result]) -> str:
    """One line for all checks that a pasted text leaves in the dark, and what would look."""
    return (
        f"not looked at: only what was pasted was read ({plural(len(those), 'check')}); "
        "'provision doctor' on the machine itself looks at the rest"
    )


def blind_block(results: Sequence[Result], causes: Sequence[Cause], style: Style) -> list[str]:
    """What could not be looked at and no cause explains, the reason said once for all its checks; then what crashed."""
    ordered = blind_reasons(results, causes)
    pasted = [one for reason, those in ordered if reason == NOT_PASTED for one in those]
    ordered = [entry for entry in ordered if entry[0] != NOT_PASTED]
    lines = [style.paint("could not look", "head")] if ordered else []
    for reason, those in ordered[:REASONS_SHOWN]:
        codes = _shortened([r.code for r in those], CODES_SHOWN)
        lines += prose(f"{reason}: {', '.join(codes)}", style, "    ", "  ")
    if left := ordered[REASONS_SHOWN:]:
        checks = sum(len(those) for _, those in left)
        lines.append(
            f"  and {plural(len(left), 'more reason')} for {plural(checks, 'check')}: provision doctor --format json"
        )
    if pasted:
        lines.append(f"  {unpasted(pasted)}")
    lines += [""] if ordered or pasted else []
    for one in results:
        if one.outcome == "crashed":
            first = f"{style.paint('crashed', 'bad')}: {one.code} {one.name}: "
            lines += prose(one.reason, style, "  ", first)
    return lines


def waived_block(results: Sequence[Result], style: Style) -> list[str]:
    """What provision.toml waives, every time, with its reason; and the waivers that have no effect, with theirs."""
    said = [(r, "accepted", r.reason) for r in results if r.outcome == "accepted"]
    said += [(r, "waiver", r.waiver) for r in results if r.waiver]
    return [line for one, word, why in said for line in prose(why, style, "  ", f"{word}: {one.code} {one.name}: ")]


def _shortened(items: Sequence[str], shown: int) -> list[str]:
    """The first ``shown``, then how many more. One more is shown rather than counted."""
    if len(items) <= shown + 1:
        return list(items)
    return [*items[:shown], f"and {len(items) - shown} more"]
