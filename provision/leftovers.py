"""Holding the machine for a change, and first clearing away what a killed run left in its run directory.

Whoever holds the machine knows that no other ``up``, ``apply`` or ``verify`` is at work, so what looks unfinished is.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from provision import machine_lock
from provision.files import write_whole

# The commands that hold the machine while they write their run. A plan may be written beside us at any moment.
HOLDING = ("apply", "up", "verify")
CHECK_PREFIX = ".check-"


@contextlib.contextmanager
def holding(runs: Path) -> Iterator[None]:
    """Hold the machine, with ``runs`` (the folder of its runs) in order. Raises as ``machine_lock.hold`` does."""
    with machine_lock.hold():
        clear(runs)
        yield


def clear(runs: Path) -> None:
    """Finish what killed runs left: keep what Ansible did as ``apply.jsonl``, remove the rest, say how the run ended."""
    for run in sorted(runs.glob("[0-9]*")):
        _keep_results(run)
        for folder in (run / "ansible", *run.glob(f"{CHECK_PREFIX}*")):
            if folder.is_dir():
                shutil.rmtree(folder)
        if _was_killed(run):
            for part in run.rglob(".*.part"):
                part.unlink()
            _note(run)


def _keep_results(run: Path) -> None:
    """What the tasks did before the kill is evidence. A line that was cut off in the middle is not."""
    found, kept = run / "ansible/results.jsonl", run / "apply.jsonl"
    if found.exists() and not kept.exists():
        whole, _, _ = found.read_text(encoding="utf-8", errors="replace").rpartition("\n")
        if whole:
            write_whole(kept, whole + "\n")


def _was_killed(run: Path) -> bool:
    content = _read(run)
    return content.get("command") in HOLDING and not content.get("ended")


def _note(run: Path) -> None:
    content = _read(run) | {"ended": "unknown", "exit": None, "error": "killed before it could say how it ended"}
    write_whole(run / "run.json", json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def _read(run: Path) -> dict[str, object]:
    try:
        content = json.loads((run / "run.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return content if isinstance(content, dict) else {}
