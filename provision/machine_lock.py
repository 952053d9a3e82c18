"""One run at a time on a machine: a lock that the kernel lets go of when its holder dies, however it dies."""

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
from provision.errors import Busy, ChangeError

POLL_SECONDS = 0.2
ENOUGH_BYTES = 4096


def default_path() -> Path:
    """Root's is machine-wide. Another user cannot change the machine; theirs keeps apart their own runs."""
    if os.geteuid() == 0:
        return Path("/run/lock/provision.lock")
    folder = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    return Path(folder) / f"provision-{os.geteuid()}.lock"


@contextlib.contextmanager
def hold(wait_seconds: float = 30.0, path: Path | None = None) -> Iterator[None]:
    """Hold the machine. Waits at most ``wait_seconds`` for another run and says who it is.

    Raises ``Busy`` after that. The file stays: removing it would let two runs hold two files of one name.
    """
    file = path or default_path()
    handle = _open(file)
    try:
        _acquire(handle, file, wait_seconds)
        mine = {"pid": os.getpid(), "user": _user(), "command": " ".join(sys.argv)}
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(mine).encode(), 0)
        yield
        os.ftruncate(handle, 0)
    finally:
        os.close(handle)  # lets go of the lock


def _open(file: Path) -> int:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # Never through a link, and for nobody else: who can open the file can also lock it, and everybody can write to /run/lock.
        return os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ChangeError(f"{file}: the machine's lock cannot be opened: {error.strerror}", f"ls -l {file}") from None


def _acquire(handle: int, file: Path, wait_seconds: float) -> None:
    deadline = time.monotonic() + wait_seconds
    said = False
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise Busy(
                    f"{_holder(handle)} holds this machine and was waited for {wait_seconds:g} s", f"fuser -v {file}"
                ) from None
        if not said:
            progress.say(f"{_holder(handle)} holds this machine; waiting at most {wait_seconds:g} s")
            said = True
        time.sleep(min(POLL_SECONDS, max(0.0, deadline - time.monotonic())))


def _holder(handle: int) -> str:
    try:
        other = json.loads(os.pread(handle, ENOUGH_BYTES, 0))
        return f"{other['user']}'s `{other['command']}` (process {other['pid']})"
    except (ValueError, KeyError, TypeError):  # it has the lock and has not written its name yet
        return "another run"


def _user() -> str:
    return os.environ.get("SUDO_USER") or getpass.getuser()
