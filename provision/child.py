"""Child processes that are killed at their deadline. Standard library only, Python 3.10."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess

from provision.fact import Absent, Missing

GRACE_SECONDS = 0.2  # after SIGKILL a healthy child is gone in about a millisecond
OUTPUT_LIMIT_BYTES = 16 << 20


def search_path() -> str:
    """PATH with the folders where administrators' programs live: cron and sudo often leave them out."""
    return os.pathsep.join((os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"))


def plain_environment() -> dict[str, str]:
    """This environment with the C locale, so that messages read the same everywhere."""
    return {**os.environ, "LC_ALL": "C", "LANGUAGE": "", "PATH": search_path()}


def run_child(command: tuple[str, ...], timeout: float, name: str = "") -> tuple[int, str, str]:
    """Status, output and errors of a command that is killed with its whole process group at the deadline.

    ``name`` stands for the command in messages. Raises ``Absent`` (no such program) or ``Missing`` (no permission, no
    answer in time).
    """
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=plain_environment(),
            start_new_session=True,
        )
    except FileNotFoundError:
        raise Absent(f"{command[0]} is not installed") from None
    except OSError as error:
        raise Missing(f"{command[0]}: {(error.strerror or str(error)).lower()}") from None
    try:
        out, err = child.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise Missing(_give_up(child, name or " ".join(command[:3]), timeout)) from None
    text = out[:OUTPUT_LIMIT_BYTES].decode(errors="replace"), err[:OUTPUT_LIMIT_BYTES].decode(errors="replace")
    return child.returncode, *text


def _give_up(child: subprocess.Popen[bytes], name: str, timeout: float) -> str:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    said = f"{name} gave no answer in {timeout:g} s"
    try:
        child.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        return f"{said} and cannot be killed (process {child.pid} is stuck in the kernel)"
    finally:
        for pipe in (child.stdout, child.stderr):
            if pipe is not None:
                pipe.close()
    return said
