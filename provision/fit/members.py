"""A JSON object read member by member, so that memory stays bounded by what is kept.

``json.loads`` over a whole header makes an object for every three bytes of a hostile one: 100 MB of "[]," took 2.4 GiB
(CPython 3.11, 2026-11-24). Here every value is read by a function that knows how long it may be.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

_SPACE = re.compile(rb"[ \t\n\r]*")
_SMALL_BYTES = 1 << 16


class Broken(ValueError):
    """What is wrong with the JSON, as the end of a sentence; ``place`` counts bytes."""


def skip(raw: bytes, place: int) -> int:
    """The place of the next byte that is no white space."""
    found = _SPACE.match(raw, place)
    return found.end() if found else place


def walk(
    raw: bytes, place: int, value: Callable[[bytes, int], int], ahead: Callable[[int], int] = lambda place: place
) -> int:
    """Read the object at ``place`` and give the place behind it.

    ``value(key, place)`` reads one value and gives the place behind it; ``key`` is UTF-8 without its quotes and escapes.
    ``ahead(place)`` may read any number of members with the comma behind them, and gives the place of the next one.
    """
    if raw[place : place + 1] != b"{":
        raise Broken(f"no JSON object at byte {place}")
    place = skip(raw, place + 1)
    if raw[place : place + 1] == b"}":
        return place + 1
    while True:
        key, place = string(raw, ahead(place))
        place = skip(raw, place)
        if raw[place : place + 1] != b":":
            raise Broken(f"no JSON: expected ':' at byte {place}")
        place = skip(raw, value(key, skip(raw, place + 1)))
        mark = raw[place : place + 1]
        if mark == b"}":
            return place + 1
        if mark != b",":
            raise Broken(f"no JSON: expected ',' or '}}' at byte {place}")
        place = skip(raw, place + 1)


def string(raw: bytes, place: int) -> tuple[bytes, int]:
    """The string at ``place`` as UTF-8, and the place behind it."""
    if raw[place : place + 1] != b'"':
        raise Broken(f"no JSON: expected a string at byte {place}")
    end = place
    while True:
        end = raw.find(b'"', end + 1)
        if end < 0:
            raise Broken(f"no JSON: the string at byte {place} does not end")
        slashes = end
        while raw[slashes - 1] == 0x5C:
            slashes -= 1
        if (end - slashes) % 2 == 0:
            break
    try:
        text: str = json.loads(raw[place : end + 1].decode())
        return text.encode(), end + 1
    except UnicodeDecodeError:
        raise Broken(f"the string at byte {place} is not UTF-8") from None
    except UnicodeEncodeError:
        raise Broken(f"the string at byte {place} holds half a surrogate pair") from None
    except ValueError:
        raise Broken(f"no JSON: the string at byte {place} holds a bare control character or a broken escape") from None


def small(raw: bytes, place: int, most: int = _SMALL_BYTES) -> tuple[Any, int]:
    """Any value of at most ``most`` bytes, and the place behind it. The same key twice in one object is refused."""
    piece = raw[place : place + most].decode(errors="surrogateescape")
    try:
        found, end = _DECODER.raw_decode(piece)
    except RecursionError:
        raise Broken(f"nested too deeply at byte {place}") from None
    except Broken:
        raise
    except ValueError:
        raise Broken(f"no JSON value of at most {most} bytes at byte {place}") from None
    return found, place + len(piece[:end].encode(errors="surrogateescape"))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Broken("the same key twice in one object")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_unique)
