"""What the parsers of dumps have found so far. The first statement of a thing stands; a later one does not replace it."""

from __future__ import annotations

import re
from typing import Any

from provision.facts.environment import admitted

_NOTHING = frozenset({"", "n/a", "none", "could not collect", "not found", "unknown", "err!", "not available", "[n/a]"})
MOST_CARDS = 64  # of one text; four times what one machine has been seen with (16, HGX-2)
MOST_VALUES = 4000  # of one card; nvidia-smi 580 -q -x prints about 400, and 10 a process


class Draft:
    """Statements by field of ``Stated``, and whole facts by name where a dump states all that the record needs."""

    def __init__(self) -> None:
        self.sources: list[str] = []
        self.fields: dict[str, Any] = {}
        self.facts: dict[str, Any] = {}
        self.gpus: dict[int, dict[str, Any]] = {}
        self.cards: dict[str, dict[str, str]] = {}  # by bus address: what nvidia-smi printed, by its path of headings
        self.indices: dict[str, int] = {}  # of those addresses; nvidia-smi's order where no number is printed
        self.matrix: list[tuple[str, ...]] = []  # of nvidia-smi topo -m: its heading, then its rows
        self.attached_gpus: int | None = None  # how many there are, shown or not
        self.packages: dict[str, str] = {}
        self.env: dict[str, str] = {}
        self.file_systems: dict[str, dict[str, Any]] = {}
        self.libraries: list[tuple[str, str]] = []
        self.kernel_lines: list[str] = []
        self.whole_environment = False  # everything that is set was pasted, so what is not there is not set

    def say(self, field: str, value: Any) -> None:
        """``value`` for a field that nothing stated before. "N/A" and "Could not collect" state nothing."""
        if value is None or (isinstance(value, str) and value.strip().lower() in _NOTHING):
            return
        self.fields.setdefault(field, value.strip() if isinstance(value, str) else value)

    def gpu(self, index: int, **stated: Any) -> None:
        """Something about the GPU ``index``."""
        known = self.gpus.setdefault(index, {})
        for name, value in stated.items():
            if value is not None:
                known.setdefault(name, value)

    def card(self, address: str, index: int | None = None, /, **printed: str) -> int:
        """What nvidia-smi printed of the card at ``address`` ("0000:17:00.0"); gives the GPU's number."""
        if address not in self.cards and len(self.cards) >= MOST_CARDS:
            return self.indices.get(address, MOST_CARDS)
        number = self.indices.setdefault(address, len(self.indices) if index is None else index)
        known = self.cards.setdefault(address, {})
        for path, value in printed.items():
            if len(known) < MOST_VALUES:
                known.setdefault(path, value)
        return number

    def attached(self, printed: str) -> None:
        """How many GPUs nvidia-smi says there are."""
        if self.attached_gpus is None and printed.isdecimal():
            self.attached_gpus = int(printed[:4])

    def package(self, name: str, version: str) -> None:
        """A Python package by its normalised name. torch's version also says what it was built for."""
        name = re.sub(r"[-_.]+", "-", name).lower()
        name = "torch" if name == "pytorch" else name  # conda's name for it
        self.packages.setdefault(name, version)

    def torch(self, version: str) -> None:
        """torch's version; its local part names the build ("2.8.0+cu128", "2.8.0+cpu")."""
        version = version.strip()
        self.say("torch_version", version)
        build = re.search(r"\+(?:cu(\d{2,3})|rocm([\d.]+)|(cpu))\b", version)
        if build is None:
            return
        if build[1]:
            self.say("torch_cuda", f"{build[1][:-1]}.{build[1][-1]}")
        elif build[2]:
            self.say("torch_hip", build[2])
        else:
            self.say("torch_without_cuda", True)

    def variable(self, name: str, value: str) -> None:
        """An environment variable, where its name is on the list of those that are read at all."""
        kept = admitted(name, value)
        if kept is not None:
            self.env.setdefault(name, kept)
