"""The payload runs in an interpreter of its own: the one with torch, as in the container."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PAYLOAD = Path(__file__).parents[2] / "provision" / "payload"
MODEL = PAYLOAD / "smoke" / "model"

Run = Callable[..., tuple[int, list[dict[str, Any]], str]]


@pytest.fixture(scope="session")
def smoke_python() -> str:
    """The interpreter with torch, transformers, bitsandbytes and accelerate."""
    path = os.environ.get("PROVISION_SMOKE_PYTHON")
    if not path:
        pytest.fail(
            "PROVISION_SMOKE_PYTHON is not set: name an interpreter that has the packages of "
            "lockfiles/smoke-cpu-py311.txt, for example /path/to/venv/bin/python"
        )
    return path


@pytest.fixture(scope="session")
def smoke(smoke_python: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run `python -m smoke` on a request; its exit code, its lines and what it said on stderr."""

    def run(
        proofs: dict[str, dict[str, Any]], *, device: str = "cpu", model: Path = MODEL, lock: Path | None = None
    ) -> tuple[int, list[dict[str, Any]], str]:
        folder = tmp_path_factory.mktemp("smoke")
        request = {
            "schema": 1,
            "device": device,
            "model": str(model),
            "lock": str(lock) if lock else None,
            "proofs": [{"code": code, "promised": promised} for code, promised in proofs.items()],
        }
        (folder / "request.json").write_text(json.dumps(request))
        done = subprocess.run(
            [smoke_python, "-m", "smoke", "--request", folder / "request.json"],
            check=False,
            cwd=PAYLOAD,
            # One thread: two that wait for each other spin while other tests want their core (160 s instead of 40).
            env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            timeout=300,
        )
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr

    return run
