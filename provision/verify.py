"""The proofs: run in the container, every promised one on record, then the machine looked at again."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from provision import engine
from provision.errors import ChangeError, NotProved
from provision.files import write_whole
from provision.plan import Plan
from provision.plan.gpu_memory import model_folder
from provision.progress import say
from provision.render import request

# The whole smoke test took 30 s on 2 idle cores and 4 min on busy ones (2026-11-24); longer is broken, not slow.
SMOKE_SECONDS = 900


def in_container(plan: Plan) -> tuple[dict[str, Any], ...]:
    """Every promised proof's line, in the plan's order. One that did not come says why."""
    from provision import container

    client = engine.engine(seconds=SMOKE_SECONDS)
    lines = container.run_smoke(
        client,
        plan.rollout.image,
        request(plan),
        timeout=SMOKE_SECONDS,
        gpus=plan.cuda.device == "cuda",
        memory_bytes=plan.gpu_memory.limit_bytes,
    )
    return complete(plan, lines)


def here(plan: Plan) -> tuple[dict[str, Any], ...]:
    """The proofs in this environment, with the torch that is there, without a container or a network.

    What only a container can hold (that it is sealed, that it is its lock) is left out by name.
    """
    asked = request(plan) | {"model": str(model_folder()), "lock": None}
    asked["proofs"] = [p for p in asked["proofs"] if p["code"] not in ("ISO-P1", "DEP-P1")]
    with tempfile.TemporaryDirectory(prefix="provision-here-") as folder:
        path = Path(folder) / "request.json"
        write_whole(path, json.dumps(asked))
        child = subprocess.Popen(
            [interpreter(), "-m", "provision.payload.smoke", "--request", str(path)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
        )
        assert child.stdout is not None
        return complete(plan, _parsed(child), tuple(p["code"] for p in asked["proofs"]))


def interpreter() -> str:
    """The Python whose torch is meant: that of the active environment, else the first on PATH that has torch."""
    import shutil

    for name in (shutil.which("python"), shutil.which("python3"), sys.executable, "/usr/bin/python3"):
        if name and _has_torch(name):
            return name
    raise ChangeError("no Python here has torch", "activate the environment that has it, then: provision verify --here")


def _has_torch(python: str) -> bool:
    script = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)"
    try:
        return subprocess.run([python, "-c", script], capture_output=True, timeout=30, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _parsed(child: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    assert child.stdout is not None
    for line in child.stdout:
        yield json.loads(line)
    if child.wait() not in (0, 1):
        raise NotProved(f"the smoke test ended with status {child.returncode}")


def complete(
    plan: Plan, lines: Iterable[dict[str, Any]], codes: tuple[str, ...] | None = None
) -> tuple[dict[str, Any], ...]:
    """The lines that came, and for every promised proof that did not a line that says so: never absent."""
    wanted = {p.code: p for p in plan.proofs if codes is None or p.code in codes}
    came: dict[str, dict[str, Any]] = {}
    reason = "the smoke test ended without this proof"
    try:
        for line in lines:
            came[str(line.get("code"))] = line
            say(f"{line.get('code')} {line.get('name')}: {'proved' if line.get('proved') is True else 'NOT proved'}")
    except NotProved as error:
        reason = error.message
        say(error.message)
    return tuple(came.get(code) or _missing(code, promise.promised, reason) for code, promise in wanted.items())


def _missing(code: str, promised: dict[str, Any], reason: str) -> dict[str, Any]:
    from provision.payload.smoke.proof import load

    known = load().get(code)
    return {
        "schema": 1,
        "code": code,
        "name": known.name if known else "",
        "roadblock": known.roadblock if known else "",
        "proved": False,
        "promised": promised,
        "measured": {},
        "seconds": 0.0,
        "reason": reason,
    }
