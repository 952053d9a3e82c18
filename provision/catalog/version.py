"""Version numbers as drivers, toolkits and engines write them: dotted integers, compared number by number."""

from __future__ import annotations

import functools
import re


@functools.lru_cache(maxsize=4096)  # the choice of a lock compares the same few versions over and over
def numbers(version: str) -> tuple[int, ...]:
    """The leading dotted integers: "580.65.06" as (580, 65, 6), "2.13.0+cu130" as (2, 13, 0), "x" as ()."""
    found = re.match(r"\d+(?:\.\d+)*", version.strip())
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def minor(version: str) -> str:
    """The first two numbers: "2.13.0+cpu" as "2.13"."""
    return ".".join(str(part) for part in numbers(version)[:2])


def older(version: str, than: str) -> bool:
    """Whether ``version`` comes before ``than``; missing numbers count as zero, so that "580" is not older than "580.0"."""
    left, right = numbers(version), numbers(than)
    width = max(len(left), len(right))
    return left + (0,) * (width - len(left)) < right + (0,) * (width - len(right))
