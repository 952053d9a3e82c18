"""Lines: nothing a terminal acts on, wrapped where asked, commands whole."""

from __future__ import annotations

import pytest

from provision.report.layout import PLAIN, Style, clean, item, plural, prose, table


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain äöü 日本", "plain äöü 日本"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("\u2066x\u2069", "\\u2066x\\u2069"),
        ("\udcff", "\\udcff"),
        ("a\u2028b", "a\\u2028b"),
    ],
)
def test_what_a_terminal_acts_on_is_spelled_out(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_no_width_is_one_line_however_long() -> None:
    assert prose("word " * 100, PLAIN, "  ") == ["  " + "word " * 100]


def test_prose_is_wrapped_under_its_indent() -> None:
    lines = prose("one two three four five six seven", Style(width=24), "    ", "  - ")
    assert lines == ["  - one two three four", "    five six seven"]


def test_a_command_is_never_wrapped() -> None:
    command = "provision apply --only storage " * 5
    assert item("fix", [command], Style(width=40), wrap=False) == ["  fix         " + command]


def test_an_item_names_itself_once() -> None:
    assert item("because", ["one", "two"], PLAIN) == ["  because     one", "              two"]
    assert item("because", [], PLAIN) == []


def test_the_longest_label_keeps_its_distance() -> None:
    assert item("tell apart", ["x"], PLAIN) == ["  tell apart  x"]


def test_colour_only_where_there_is_colour() -> None:
    assert Style(color=True).paint("x", "error") == "\x1b[1;31mx\x1b[0m"
    assert PLAIN.paint("x", "error") == "x"


def test_columns_are_as_wide_as_what_they_hold() -> None:
    assert table([("a", "1", "x"), ("bbb", "22", "y")]) == ["  a    1   x", "  bbb  22  y"]
    assert table([]) == []
    assert table([("a\n", "b")]) == ["  a\\n  b"]


def test_plural() -> None:
    assert [plural(n, "error") for n in (0, 1, 2)] == ["0 errors", "1 error", "2 errors"]
