"""Measured tables, one file each, every row with its source and date."""

from __future__ import annotations

from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent  # importlib.resources would bring tempfile and zipfile: 15 ms of the doctor's start


def read(name: str) -> dict[str, Any]:
    """A table of the catalogue as TOML has it."""
    import tomllib

    return tomllib.loads((FOLDER / name).read_text(encoding="utf-8"))
