"""What the tests of checkpoints share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from provision.errors import UsageError
from provision.fit import checkpoint


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """``folder({"model.safetensors": bytes, "config.json": {...}})``: a model's folder; config.json is there unless None."""

    def make(files: dict[str, Any], config: Any = None) -> Path:
        top = tmp_path / "model"
        top.mkdir(exist_ok=True)
        for name, content in {"config.json": config or {"model_type": "llama"}, **files}.items():
            if content is not None:
                (top / name).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return top

    return make


@pytest.fixture
def wrong() -> Callable[[Path], str]:
    """The error's one line for a path that is refused; it names the path's folder, which is cut off."""

    def ask(path: Path) -> str:
        with pytest.raises(UsageError) as caught:
            checkpoint.read_here(str(path))
        message = caught.value.message
        assert message.isprintable() and len(message) < 1000
        assert caught.value.exit_code == 2
        home = path if path.is_dir() else path.parent
        assert message.startswith(str(home)), message
        return message.removeprefix(str(home)).removeprefix("/").removeprefix(": ")

    return ask
