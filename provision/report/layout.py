"""Lines for a terminal or a file: colour and wrapping where they are wanted, nothing a terminal would act on."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable

from provision.record import record

# Control characters, the marks that reorder or hide text, and the halves of undecodable bytes: a host name or a
# label is data, and must neither move the cursor nor look like something else.
_ACTIVE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_CODES = {"error": "1;31", "warning": "1;33", "note": "1;36", "good": "32", "bad": "1;31", "dim": "2", "head": "1"}


@record
class Style:
    """``width`` 0 is one line per item however long it is: what a file and ``grep`` want."""

    color: bool = False
    width: int = 0

    def paint(self, text: str, role: str) -> str:
        """``text`` in the colour of ``role``, where there is colour."""
        return f"\x1b[{_CODES[role]}m{text}\x1b[0m" if self.color else text


PLAIN = Style()


def clean(text: str) -> str:
    """One line in which every character that a terminal acts on is spelled out (``\\x1b``, ``\\n``)."""
    return _ACTIVE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def prose(text: str, style: Style, indent: str, first: str | None = None) -> list[str]:
    """A sentence, wrapped under ``indent``; its first line starts with ``first``."""
    start = indent if first is None else first
    if not style.width:
        return [start + clean(text)]
    return textwrap.wrap(
        clean(text),
        max(style.width, len(indent) + 20),
        initial_indent=start,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [start.rstrip()]


def item(name: str, values: Iterable[str], style: Style, *, wrap: bool = True, gutter: int = 12) -> list[str]:
    """``name`` in a column, its values below each other beside it. ``wrap=False`` for commands: they are copied."""
    lines: list[str] = []
    indent = "  " + " " * gutter
    for number, value in enumerate(values):
        first = f"  {name:<{gutter}}" if number == 0 else indent
        lines += prose(value, style if wrap else PLAIN, indent, first)
    return lines


def table(rows: Iterable[tuple[str, ...]], indent: str = "  ", widest: int = 48) -> list[str]:
    """Rows in columns as wide as what they hold (at most ``widest``); the last column runs on."""
    cells = [tuple(clean(c) for c in row) for row in rows]
    if not cells:
        return []
    widths = [min(widest, max(len(row[i]) for row in cells)) for i in range(len(cells[0]) - 1)]
    return [
        (indent + "".join(f"{cell:<{width}}  " for cell, width in zip(row, widths, strict=False)) + row[-1]).rstrip()
        for row in cells
    ]


def plural(count: int, noun: str) -> str:
    """``1 error``, ``2 errors``."""
    return f"{count} {noun}" + ("" if count == 1 else "s")
