"""One GPU's printed values read as numbers and yes or no; what is not printed keeps its reason."""

from __future__ import annotations

import re
from collections.abc import Callable, Container
from typing import TypeVar

from provision.fact import NOT_PASTED

T = TypeVar("T")
_MIB = 1 << 20


class Unprinted(Exception):
    """A value is not there, for this reason."""


class Printed:
    """Asks one GPU's printed values; keeps why a field has none."""

    def __init__(self, index: int, values: dict[str, str]) -> None:
        self.index, self.values = index, values
        self.unread: list[tuple[str, str]] = []
        self._ends: dict[str, str] = {}  # every end of a path ("current", "ecc_mode/current", …): the first of it
        for path, value in values.items():
            parts = path.split("/")
            for start in range(len(parts)):
                if not any(part.startswith("mig_device#") for part in parts):
                    self._ends.setdefault("/".join(parts[start:]), value)

    def __contains__(self, path: str) -> bool:
        """Whether something is printed under exactly this path."""
        return path in self._ends

    def find(self, *paths: str) -> str | None:
        """What is printed under the first of ``paths`` that is there ("ecc_mode/current"), whatever stands over it.

        None for "N/A". Raises ``Unprinted``.
        """
        for path in paths:
            if path in self._ends:
                return self._meaning(self._ends[path])
            heading = path.rpartition("/")[0]  # "Remapped Rows : N/A" stands for everything under it
            if heading in self._ends and self._meaning(self._ends[heading]) is None:
                return None
        raise Unprinted(NOT_PASTED)

    def _meaning(self, value: str) -> str | None:
        word = value.strip("[] ").lower()
        if word in ("n/a", "not supported", "requested functionality has been deprecated"):
            return None
        if word in ("", "err!") or "error" in word or word.startswith("insufficient"):
            raise Unprinted(f"nvidia-smi printed {value!r}")
        return value

    def __call__(self, field: str, read: Callable[[str], T], *paths: str) -> T | None:
        """``field``'s value read from what is printed; None with the reason kept where it is not."""
        return self.attempt(field, lambda: None if (said := self.find(*paths)) is None else read(said))

    def attempt(self, field: str, read: Callable[[], T]) -> T | None:
        """As a call, for what is read from several printed values."""
        try:
            return read()
        except Unprinted as reason:
            self.unread.append((field, str(reason)))
            return None


def decimal(said: str) -> float:
    found = re.match(r"-?\d{1,9}(?:\.\d+)?", said)
    if found is None:
        raise Unprinted(f"nvidia-smi printed {said!r}")
    return float(found[0])


def number(said: str) -> int:
    return int(decimal(said))


def mebibytes(said: str) -> int:
    return number(said) * _MIB


def on(said: str) -> bool:
    return _either(said, ("enabled", "on"), ("disabled", "off"))


def yes(said: str) -> bool:
    return _either(said, ("yes", "valid"), ("no", "invalid"))


def ecc(said: str) -> bool:
    """The table prints the number of errors where error correction is on."""
    return said.isdecimal() or on(said)


def _either(said: str, true: Container[str], false: Container[str]) -> bool:
    if said.lower() not in true and said.lower() not in false:
        raise Unprinted(f"nvidia-smi printed {said!r}")
    return said.lower() in true
