"""A diagnosis as Markdown, to be pasted into a bug report: causes, what could not be looked at, the machine in a table.

What a machine or a user named stays text: what Markdown or an issue tracker would act on is escaped, commands stand in
code blocks. Held to a CommonMark parser by the tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from provision import __version__, check
from provision.cause import Cause
from provision.check import Result
from provision.fact import NOT_PASTED, Absent, Missing, Snapshot
from provision.report.diagnosis import blind_reasons, followers, in_baseline, line_of, unpasted, verdict
from provision.report.formats import Shown
from provision.report.layout import clean
from provision.report.map import versions

_SPECIAL = re.compile(r"[\\`*_{}\[\]<>&|~#$]")
_FIRST = re.compile(r"^(\s*)([-+=]|\d+(?=[.)]))")  # what makes a line a list, a heading's underline or a number
# A word that a tracker would turn into a mention or a link. In code it stays what it is, and nobody is called.
_ADDRESS = re.compile(r"\S*(?:@|://|\bwww\.)\S*")


def document(shown: Shown) -> str:
    """``provision doctor --format markdown``."""
    lines = [f"### provision doctor: {inline(verdict(shown.causes, shown.results))}", ""]
    for one in shown.causes:
        lines += _cause(one, shown.results)
    dark = dict(blind_reasons(shown.results, shown.causes))
    pasted = dark.pop(NOT_PASTED, [])
    lines += _table(
        ("Could not look", "Reason"), [(", ".join(r.code for r in those), why) for why, those in dark.items()]
    )
    lines += [inline(unpasted(pasted)), ""] if pasted else []
    notes = [(f"crashed: {r.code} {r.name}", r.reason) for r in shown.results if r.outcome == "crashed"]
    notes += [(f"accepted: {r.code} {r.name}", r.reason) for r in shown.results if r.outcome == "accepted"]
    notes += [(f"waiver: {r.code} {r.name}", r.waiver) for r in shown.results if r.waiver]
    lines += _table(("Check", "Reason"), notes)
    counts = ", ".join(f"{count} {outcome}" for outcome, count in check.summary(shown.results).items())
    lines += [f"{counts}; provision {__version__}", ""]
    if shown.snapshot is not None:
        lines += _machine(shown.machine, shown.snapshot)
    return "\n".join(lines).rstrip("\n") + "\n"


def inline(text: str) -> str:
    """Text as text: no emphasis, link, element, table cell, mention or reference comes out of it."""
    parts: list[str] = []
    end = 0
    plain = clean(text).strip()
    for found in _ADDRESS.finditer(plain):
        parts += [_escaped(plain[end : found.start()]), code(found[0])]
        end = found.end()
    escaped = "".join([*parts, _escaped(plain[end:])])
    return _FIRST.sub(lambda found: f"{found[1]}{_first(found[2])}", escaped)


def _escaped(text: str) -> str:
    return _SPECIAL.sub(lambda found: f"\\{found[0]}", text)


def _first(mark: str) -> str:
    return f"\\{mark}" if not mark.isdigit() else f"&#{ord(mark[0])};{mark[1:]}"


def code(text: str) -> str:
    """An inline code span, in a fence longer than any run of backticks within."""
    plain = clean(text)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", plain)), default=0))
    space = " " if plain.startswith("`") or plain.endswith("`") or plain.strip() != plain else ""
    return f"{fence}{space}{plain}{space}{fence}"


def block(lines: Sequence[str]) -> list[str]:
    """Commands in a fenced block, whatever backticks they hold."""
    plain = [clean(line) for line in lines]
    fence = "`" * max(3, 1 + max((len(run) for line in plain for run in re.findall("`+", line)), default=0))
    return [f"{fence}sh", *plain, fence]


def _cause(one: Cause, results: Sequence[Result]) -> Iterator[str]:
    told = "" if one.certainty == "certain" else f" ({one.certainty})"
    told += " (in the baseline)" if in_baseline(one, results) else ""
    yield f"#### {one.severity}: {inline(one.cause)}{told} \\[{', '.join(one.codes)}\\]"
    yield ""
    if line := line_of(one.cause):
        yield from (inline(line), "")
    yield from (f"- {inline(text)}" for text in one.because)
    yield ""
    for name, commands in (("Fix", one.fix), ("To tell it apart", one.tell_apart)):
        if commands:
            yield from (f"{name}:", "", *block(commands), "")
    if also := followers(one, results):
        yield from (f"Follows from it: {', '.join(also)}", "")


def _table(head: tuple[str, str], rows: Iterable[tuple[str, str]]) -> list[str]:
    body = [f"| {_cell(left)} | {_cell(right)} |" for left, right in rows]
    return [f"| {head[0]} | {head[1]} |", "|---|---|", *body, ""] if body else []


def _cell(text: str) -> str:
    """A cell; code spans do not shield a pipe in a table, so it is escaped there too."""
    return re.sub(r"(?<!\\)\|", r"\\|", inline(text))


def _machine(machine: str, snapshot: Snapshot) -> list[str]:
    """The versions, folded; the machine's name is the reporter's to give. Nothing of what a pasted text does not state."""
    rows = versions(snapshot)
    dark = [(name, value) for name, value in snapshot.facts.items() if isinstance(value, Missing)]
    gone = sum(isinstance(value, Absent) for value in snapshot.facts.values())
    rows += [(name, f"could not look: {value.reason}") for name, value in dark]
    rows = [(name, said) for name, said in rows if not said.endswith(NOT_PASTED)]
    if not rows:
        return []
    head = f"<summary>{_element(machine)}: {len(snapshot.facts)} facts, {gone} of them not there</summary>"
    return ["<details>", head, "", *_table(("What", "Value"), rows), "</details>", ""]


def _element(text: str) -> str:
    """Text inside an HTML element: a blank line cannot end the element, and nothing in it is Markdown."""
    return clean(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
