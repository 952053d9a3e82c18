"""Running one of our playbooks: a child process with an environment of its own, watched line by line.

The callback plugin (playbooks/plugins/callback/jsonl.py) writes every result to a file and says on standard output
which task starts. Ctrl-C reaches only this process: it asks the child to stop at the next task, because a package
installation that is cut in half leaves the machine worse than before.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from provision import codec, machine_lock, progress
from provision.child import search_path
from provision.errors import ChangeError
from provision.record import record

FOLDER = Path(__file__).with_name("playbooks")
SAY_AFTER_SECONDS = 2.0
SAY_AGAIN_SECONDS = 20.0
Kind = Literal["package", "file", "folder", "unit", "disk", "mount", "model", ""]


@record
class TaskResult:
    """One line of ``apply.jsonl``. ``kind`` is what the task manages, "" where it only looks."""

    schema: int
    role: str
    task: str
    item: str
    kind: Kind
    changed: bool
    failed: bool
    skipped: bool
    diff: str
    message: str

    @property
    def what(self) -> str:
        """The thing itself where there is one, else the task."""
        return self.item or self.task


@record
class Played:
    """What a run of a playbook did. ``stats`` are Ansible's own totals; empty where it ended before them."""

    results: tuple[TaskResult, ...]
    stats: dict[str, int]
    status: int
    errors: str

    @property
    def failure(self) -> str:
        """The message of the task that ended the run, else what Ansible wrote last; "" where all went well."""
        if self.status == 0:
            return ""
        said = [r.message for r in self.results if r.failed and r.message]
        errors = [line for line in self.errors.splitlines() if line.strip()]
        return said[-1] if said else (errors[-1] if errors else f"ansible-playbook ended with status {self.status}")


def play(
    playbook: str,
    rendered: Path,
    folder: Path,
    variables: Mapping[str, Any],
    *,
    results: Path,
    tags: tuple[str, ...] = (),
    skip_tags: tuple[str, ...] = (),
    check: bool = False,
) -> Played:
    """Run ``playbook`` over ``rendered`` with ``variables`` (data: never a template) and write ``results``.

    ``folder`` takes Ansible's temporary files and is removed afterwards. Raises ``KeyboardInterrupt`` after Ctrl-C,
    once the task that was running has ended, and ``ChangeError`` where Ansible is not installed.
    """
    from provision.render import unsafe_yaml

    program = Path(sys.executable).parent / "ansible-playbook"
    if not program.exists():
        raise ChangeError(f"{program} is not there: this environment lacks ansible-core", "make venv")
    folder = folder.resolve()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        values = folder / "run.yml"
        values.write_text("".join(f"{key}: {unsafe_yaml(value)}\n" for key, value in sorted(variables.items())))
        command = [
            str(program),
            str(FOLDER.resolve() / playbook),
            "--diff",
            "--inventory",
            str(rendered / "inventory.yml"),
        ]
        command += ["--extra-vars", f"@{rendered / 'vars.yml'}", "--extra-vars", f"@{values}"]
        command += ["--tags", ",".join(tags)] if tags else []
        command += ["--skip-tags", ",".join(skip_tags)] if skip_tags else []
        command += ["--check"] if check else []
        lines = folder / "results.jsonl"
        lines.touch()
        child = _Child(command, _environment(folder, lines), folder)
        status = child.watch()
        found = lines.read_text(encoding="utf-8")
        lines.replace(results)
        if child.interrupts:
            raise KeyboardInterrupt
        return Played(
            results=tuple(codec.load(TaskResult, json.loads(line)) for line in found.splitlines()),
            stats=child.stats,
            status=status,
            errors=(folder / "errors").read_text(errors="replace"),
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _environment(folder: Path, lines: Path) -> dict[str, str]:
    """The user's environment without their settings for Ansible and Python, so that a run does the same everywhere."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "PYTHON"))}
    return {
        **kept,
        "PATH": search_path(),
        "LC_ALL": "C.UTF-8",  # Ansible refuses any other character set; a minimal Debian sets none
        "PYTHONDONTWRITEBYTECODE": "1",
        "ANSIBLE_CONFIG": str(FOLDER.resolve() / "ansible.cfg"),
        "ANSIBLE_HOME": str(folder / "home"),
        "ANSIBLE_LOCAL_TEMP": str(folder / "tmp"),
        "ANSIBLE_REMOTE_TEMP": str(folder / "tmp"),
        "PROVISION_JSONL": str(lines),
        "PROVISION_STOP": str(folder / "stop"),
        "PROVISION_PARENT": str(os.getpid()),
    }


class _Child:
    """The running playbook."""

    def __init__(self, command: list[str], environment: dict[str, str], folder: Path) -> None:
        self._stop = folder / "stop"
        self._errors = (folder / "errors").open("wb")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            cwd=folder,
            start_new_session=True,
            pass_fds=machine_lock.held(),  # killed or not, no other run overtakes a step that has begun
        )
        self.stats: dict[str, int] = {}
        self.interrupts = 0
        self._task = ""
        self._since = self._said = time.monotonic()

    def watch(self) -> int:
        """Until the child has ended: its exit status. Says what takes longer than two seconds."""
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        waiting = b""
        try:
            while True:
                try:
                    if select.select([pipe], [], [], 1.0)[0]:
                        chunk = os.read(pipe, 65536)
                        if not chunk:
                            return self._process.wait()
                        *lines, waiting = (waiting + chunk).split(b"\n")
                        for line in lines:
                            self._hear(line)
                    self._tell()
                except KeyboardInterrupt:
                    self._interrupted()
        finally:
            self._process.stdout.close()
            self._errors.close()

    def _hear(self, line: bytes) -> None:
        try:
            word = json.loads(line)
        except ValueError:
            return  # not ours: a warning that some module printed
        if "start" in word:
            self._task, self._since, self._said = word["start"], time.monotonic(), 0.0
        self.stats = word.get("stats", self.stats)

    def _tell(self) -> None:
        now = time.monotonic()
        if self._task and now - self._since > SAY_AFTER_SECONDS and now - self._said > SAY_AGAIN_SECONDS:
            progress.say(f"  {self._task} … {now - self._since:.0f} s")
            self._said = now

    def _interrupted(self) -> None:
        self.interrupts += 1
        if self.interrupts == 1:
            self._stop.touch()
            progress.say(f"interrupted: ending after the running step ({self._task}); Ctrl-C again breaks it off")
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGINT if self.interrupts == 2 else signal.SIGKILL)
