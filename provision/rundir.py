"""The run directory: one folder per machine and run that holds every noun of the road.

.provision/<machine>/runs/0007/   run.json facts.json findings.json plan.json rendered/
                                     apply.jsonl replaced/ proof.jsonl report.html
.provision/<machine>/latest       a link to the newest run
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from provision import codec
from provision.errors import ChangeError, UsageError
from provision.files import write_whole
from provision.plan import Plan

SCHEMA = 1


def folder_name(machine: str) -> str:
    """A machine's name as a folder: plain names stay, any other is made safe and told apart by a hash of itself."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", machine):
        return machine
    import hashlib

    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", machine).strip("-.")[:40] or "machine"
    return f"{safe}-{hashlib.sha256(machine.encode()).hexdigest()[:8]}"


class RunDirectory:
    """One run. Every file is written whole or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def number(self) -> str:
        """``0007``."""
        return self.path.name

    def write(self, name: str, value: Any) -> Path:
        """A record or JSON value as ``name``."""
        return self.write_text(name, codec.dumps(value))

    def write_text(self, name: str, text: str) -> Path:
        """Text as ``name``."""
        write_whole(self.path / name, text)
        return self.path / name

    def write_lines(self, name: str, values: Iterable[Any]) -> Path:
        """One JSON object a line."""
        return self.write_text(
            name, "".join(json.dumps(codec.dump(v), sort_keys=True, ensure_ascii=False) + "\n" for v in values)
        )

    def read(self, name: str, made_by: str) -> Any:
        """A JSON file of this run. ``made_by`` is the command that makes it, for the message where it is not there."""
        path = self.path / name
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UsageError(f"{path}: not there yet", made_by) from None
        except (OSError, ValueError) as error:
            raise UsageError(f"{path}: cannot be read: {error}", made_by) from None

    def plan(self) -> Plan:
        """The run's plan."""
        return codec.load(Plan, self.read("plan.json", "provision plan"))


def root() -> Path:
    """``.provision`` in the working directory."""
    return Path(".provision")


def runs(machine: str) -> Path:
    """The folder of a machine's runs."""
    return root() / folder_name(machine) / "runs"


def new(machine: str) -> RunDirectory:
    """A fresh run of ``machine``; ``latest`` points at it from now on. Two at once get different numbers."""
    folder = runs(machine)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        number = max((int(p.name) for p in folder.iterdir() if p.name.isdigit()), default=0) + 1
        while True:
            path = folder / f"{number:04d}"
            try:
                path.mkdir(mode=0o700)
                break
            except FileExistsError:
                number += 1
        _point(folder.parent / "latest", path)
    except OSError as error:
        raise ChangeError(
            f"{folder}: cannot keep the run's evidence there: {error.strerror}", "cd to a folder you may write to"
        ) from None
    return RunDirectory(path)


def latest(machine: str) -> RunDirectory | None:
    """The newest run of ``machine``, or None."""
    link = root() / folder_name(machine) / "latest"
    return RunDirectory(link.resolve()) if link.exists() else None


def find(machine: str, run: str | None) -> RunDirectory:
    """A run by its number or path; the latest where ``run`` is None. Raises ``UsageError`` naming what there is."""
    if run is None:
        found = latest(machine)
        if found is None:
            raise UsageError(f"no run of {machine!r} in {root()}", "provision plan")
        return found
    for path in (
        Path(run),
        runs(machine) / run,
        runs(machine) / run.zfill(4),
    ):
        if (path / "run.json").exists():
            return RunDirectory(path.resolve())
    raise UsageError(f"run {run!r}: not found; expected a number in {runs(machine)} or a run's path")


def last_applied(machine: str) -> Plan | None:
    """The plan that was last applied on ``machine`` and not undone since, or None."""
    for path in sorted(runs(machine).glob("[0-9]*"), reverse=True):
        run = RunDirectory(path)
        entry = path / "run.json"
        if entry.exists():
            content = json.loads(entry.read_text(encoding="utf-8"))
            if content.get("applied") and not content.get("undone"):
                return run.plan()
    return None


def _point(link: Path, target: Path) -> None:
    beside = link.with_name(f".latest.{os.getpid()}")
    beside.unlink(missing_ok=True)
    beside.symlink_to(os.path.relpath(target, link.parent))
    beside.replace(link)
