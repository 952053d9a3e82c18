"""What the parsers of dumps have found so far. The first statement of a thing stands; a later one does not replace it."""

from __future__ import annotations

import re
from typing import Any

from provision.facts.environment import admitted

_NOTHING = frozenset({"", "n/a", "none", "could not collect", "not found", "unknown", "err!", "not available", "[n/a]"})


class Draft:
    """Statements by field of ``Stated``, and whole facts by name where a dump states all that the record needs."""

    def __init__(self) -> None:
        self.sources: list[str] = []
        self.fields: dict[str, Any] = {}
        self.facts: dict[str, Any] = {}
        self.gpus: dict[int, dict[str, Any]] = {}
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
