"""A number with its unit in its key, as a person reads it: ``free_bytes: 38654705664`` is "free: 36 GiB"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_UNITS = ("_bytes_per_s", "_bytes", "_seconds", "_share")
_NAMES = ("pid", "uid", "gid", "port", "index")  # numbers that name a thing are not grouped in thousands
SHOWN = 6  # items of a list before the rest is counted: a CPU has a hundred flags


def size(value: float) -> str:
    """Bytes in the largest binary unit that keeps the number at or above one, one decimal where it is not whole."""
    step = 0
    while abs(value) >= 1024 and step < len(_BINARY) - 1:
        value /= 1024
        step += 1
    number = f"{value:.0f}" if float(value).is_integer() else f"{value:.1f}"
    return f"{number} {_BINARY[step]}"


def duration(seconds: float) -> str:
    """``0.41 s``, ``12.3 s``, ``5 min 12 s``."""
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def label(key: str) -> str:
    """The key without its unit, in words: ``image_room_bytes`` is ``image room``."""
    for unit in _UNITS:
        key = key.removesuffix(unit)
    return key.replace("_", " ").strip()


def quantity(key: str, value: Any, shown: int | None = SHOWN) -> str:
    """``value`` in the unit that ``key`` ends in; lists and tables on one line, beyond ``shown`` items counted."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return _number(key, value)
    if isinstance(value, Mapping):
        return ", ".join(f"{label(str(k))} {quantity(str(k), v, shown)}" for k, v in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        first = [_inner(key, v, shown) for v in value[:shown]]
        joint = "; " if any(isinstance(v, Mapping) for v in value) else ", "
        more = f" and {len(value) - shown} more" if shown is not None and len(value) > shown else ""
        return joint.join(first) + more if value else "none"
    return str(value)


def _inner(key: str, value: Any, shown: int | None) -> str:
    """An item of a list; a pair (name, version) is its words side by side."""
    if isinstance(value, (list, tuple)):
        return " ".join(quantity(key, v, shown) for v in value)
    return quantity(key, value, shown)


def _number(key: str, value: float) -> str:
    if key.endswith("_bytes_per_s"):
        return f"{size(value)}/s"
    if key.endswith("bytes"):
        return size(value)
    if key.endswith("seconds"):
        return duration(value)
    if key.endswith("share"):
        return f"{value * 100:.4g} %"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 and key not in _NAMES else str(value)
    return f"{value:.4g}"


def pairs(promised: Mapping[str, Any], measured: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(label, promised, measured) for every key of a proof, the promised ones first; "" where one side has none."""
    keys = [*promised, *(k for k in measured if k not in promised)]
    return [
        (
            label(key),
            quantity(key, promised[key]) if key in promised else "",
            quantity(key, measured[key]) if key in measured else "",
        )
        for key in keys
    ]
