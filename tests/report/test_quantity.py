"""Numbers as a person reads them."""

from __future__ import annotations

from typing import Any

import pytest

from provision.report.quantity import duration, label, pairs, quantity, size


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1536, "1.5 KiB"), (36 << 30, "36 GiB"), (1 << 60, "1024 PiB")],
)
def test_size(value: int, text: str) -> None:
    assert size(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.00 s"), (0.41, "0.41 s"), (1, "1.0 s"), (99.94, "99.9 s"), (100, "1 min 40 s"), (3600, "60 min 0 s")],
)
def test_duration(value: float, text: str) -> None:
    assert duration(value) == text


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("free_bytes", 1 << 30, "1 GiB"),
        ("bytes", 1 << 30, "1 GiB"),
        ("read_bytes_per_s", 1 << 20, "1 MiB/s"),
        ("load_seconds", 2.5, "2.5 s"),
        ("nf4_share", 0.9935, "99.35 %"),
        ("share", 1, "100 %"),
        ("tokens", 1234567, "1,234,567"),
        ("tokens", 9999, "9999"),
        ("pid", 31692, "31692"),
        ("temperature", 0.123456, "0.1235"),
        ("there", True, "yes"),
        ("limit_bytes", None, "none"),
        ("versions", ("1", "2"), "1, 2"),
        ("packages", [["torch", "2.13.0"]], "torch 2.13.0"),
        ("flags", list("abcdefgh"), "a, b, c, d, e, f and 2 more"),
        ("flags", list("abcdef"), "a, b, c, d, e, f"),
        ("flags", [], "none"),
        ("sizes_bytes", [1024, 2048], "1 KiB, 2 KiB"),
        ("weights", {"nf4_bytes": 1024, "rows": 3}, "nf4 1 KiB, rows 3"),
        ("disks", [{"name": "sda"}, {"name": "sdb"}], "name sda; name sdb"),
    ],
)
def test_quantity(key: str, value: Any, text: str) -> None:
    assert quantity(key, value) == text


def test_label_is_the_key_without_its_unit() -> None:
    assert [label(k) for k in ("image_room_bytes", "nf4_share", "rows")] == ["image room", "nf4", "rows"]


def test_pairs_put_promised_beside_measured_and_leave_nothing_out() -> None:
    assert pairs({"a_bytes": 1024, "b": 1}, {"c": 2, "a_bytes": 2048}) == [
        ("a", "1 KiB", "2 KiB"),
        ("b", "1", ""),
        ("c", "", "2"),
    ]
