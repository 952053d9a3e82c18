"""One run at a time on a machine: a lock that the kernel lets go of when its holder dies, however it dies.

A child that changes the machine (``ansible-playbook``) inherits the lock: where only the run is killed, the step that
it had begun goes on to its end, and until then no other run sets to work beside it.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from provision import progress
from provision.errors import Busy, ChangeError, UsageError

POLL_SECONDS = 0.2
WAIT_SECONDS = 30.0
ENOUGH_BYTES = 4096
# How long the last step of a killed run is waited for. Installing the engine, the longest, took 24 s on 2 cores
# (2026-11-24); a slow mirror takes many times that.
STEP_SECONDS = 600.0
_held: list[int] = []


def default_path() -> Path:
    """Root's is machine-wide. Another user cannot change the machine; theirs keeps apart their own runs."""
    if os.geteuid() == 0:
        return Path("/run/lock/provision.lock")
    folder = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    return Path(folder) / f"provision-{os.geteuid()}.lock"


@contextlib.contextmanager
def hold(wait_seconds: float | None = None, path: Path | None = None) -> Iterator[None]:
    """Hold the machine. Waits at most ``wait_seconds`` (else ``PROVISION_WAIT``, else 30) for another run; says who it is.

    Raises ``Busy`` after that. The file stays: removing it would let two runs hold two files of one name.
    """
    file = path or default_path()
    patience = _patience() if wait_seconds is None else wait_seconds
    handle = _open(file)
    try:
        _acquire(handle, file, patience)
        _held.append(handle)
        mine = {"pid": os.getpid(), "user": _user(), "command": " ".join(["provision", *sys.argv[1:]])}
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(mine).encode(), 0)
        yield
        os.ftruncate(handle, 0)
    finally:
        if handle in _held:
            _held.remove(handle)
        os.close(handle)  # lets go of the lock, unless a child that has it too still works


def held() -> tuple[int, ...]:
    """The open files that keep the lock, for a child that must not be overtaken by another run."""
    return tuple(_held)


def _patience() -> float:
    given = os.environ.get("PROVISION_WAIT", f"{WAIT_SECONDS:g}")
    try:
        return float(given)
    except ValueError:
        raise UsageError(f"PROVISION_WAIT: expected a number of seconds, got {given!r}") from None


def _open(file: Path) -> int:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # Never through a link, and for nobody else: who can open the file can also lock it, and everybody can write to /run/lock.
        return os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ChangeError(f"{file}: the machine's lock cannot be opened: {error.strerror}", f"ls -l {file}") from None


def _acquire(handle: int, file: Path, wait_seconds: float) -> None:
    started = time.monotonic()
    said = ""
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            holder, lives = _holder(handle)
        patience = wait_seconds if lives else max(wait_seconds, STEP_SECONDS)
        if (left := started + patience - time.monotonic()) <= 0:
            raise Busy(f"{holder} holds this machine and was waited for {patience:g} s", f"fuser -v {file}")
        if holder != said:
            progress.say(f"{holder} holds this machine; waiting at most {patience:g} s")
            said = holder
        time.sleep(min(POLL_SECONDS, left))


def _holder(handle: int) -> tuple[str, bool]:
    """Who it is, and whether that run itself still lives."""
    try:
        other = json.loads(os.pread(handle, ENOUGH_BYTES, 0))
        who = f"{other['user']}'s `{other['command']}` (process {other['pid']})"
        lives = Path(f"/proc/{int(other['pid'])}").exists()
    except (ValueError, KeyError, TypeError):  # it has the lock and has not written its name yet
        return "another run", True
    return (who, True) if lives else (f"the last step of {who}, which was killed,", False)


def _user() -> str:
    return os.environ.get("SUDO_USER") or getpass.getuser()
