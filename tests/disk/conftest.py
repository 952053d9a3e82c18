"""Folders on a real disk: pytest's own temporary folder may be memory, where nothing can be cold."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def on_disk() -> Iterator[Path]:
    """An empty folder beside the checkout's own files, removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix=".disk-test-", dir=ROOT))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def weights(on_disk: Path) -> Path:
    """A model's folder with two shards of 64 MiB of random bytes, written through to the disk."""
    for number in (1, 2):
        with (on_disk / f"model-{number}.safetensors").open("wb") as file:
            for _ in range(4):
                file.write(os.urandom(16 << 20))
            os.fsync(file.fileno())
    return on_disk
