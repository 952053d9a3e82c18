"""Programs that may hang: each runs in a child that is killed with its whole process group at a deadline.

A child that does not even die then (stuck in the kernel, as behind a hung driver) is left behind and said. Only
``provision.host`` asks through here. Standard library only, Python 3.10.
"""

from __future__ import annotations

import contextlib
import json
import os
import pkgutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from provision.fact import Absent, Missing

NVML_DEADLINE_SECONDS = 2.0  # and for every further GPU one more: without persistence mode each is woken first
NVML_LONGEST_SECONDS = 9.0  # below fact.SILENCE_SECONDS, after which the probe itself is given up on
_NVML = "libnvidia-ml.so.1"
_LOADER_CACHE = Path("/etc/ld.so.cache")
_LOADER_FOLDERS = ("/lib64", "/usr/lib64", "/lib", "/usr/lib")  # searched without the cache
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
    status, out, err, late = hear_child(command, timeout, name)
    if late:
        raise Missing(late)
    return status, out, err


def hear_child(command: tuple[str, ...], timeout: float, name: str = "") -> tuple[int, str, str, str]:
    """As ``run_child``; a child that ran past its deadline gives what it had said until then, and why it was ended."""
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
    late = ""
    try:
        out, err = child.communicate(timeout=timeout)
    except subprocess.TimeoutExpired as expired:
        out, err = expired.stdout or b"", expired.stderr or b""
        late = _give_up(child, name or " ".join(command[:3]), timeout)
    text = out[:OUTPUT_LIMIT_BYTES].decode(errors="replace"), err[:OUTPUT_LIMIT_BYTES].decode(errors="replace")
    return child.returncode or 0, *text, late


def follow_child(command: tuple[str, ...], timeout: float, heard: Callable[[str], None], name: str) -> tuple[int, str]:
    """Every line that a command says, as it says it; then its status (negative: the signal that ended it) and why it failed.

    At the deadline it is killed with its group, and when this process is interrupted too. What was heard stays heard.
    """
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=plain_environment(),
            start_new_session=True,
        )

        def listen() -> None:
            with contextlib.suppress(ValueError, OSError):  # the pipe was closed on a child that cannot be killed
                for line in child.stdout or ():
                    heard(line.decode(errors="replace"))

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        try:
            child.wait(timeout)
        except subprocess.TimeoutExpired:
            return -signal.SIGKILL, _give_up(child, name, timeout)
        except BaseException:
            _give_up(child, name, timeout)
            raise
        listener.join(GRACE_SECONDS)
        if child.stdout is not None:
            child.stdout.close()
        errors.seek(0)
        said = errors.read(OUTPUT_LIMIT_BYTES).decode(errors="replace").strip()
    return child.returncode, said.splitlines()[-1] if said else ""


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


def nvml_deadline(gpus: int) -> float:
    """Seconds that the driver of a machine with so many GPUs may take for all its answers."""
    return min(NVML_DEADLINE_SECONDS + max(0, gpus - 1), NVML_LONGEST_SECONDS)


def nvml_may_be_here() -> bool:
    """Whether the loader could find libnvidia-ml.so.1; on most machines it cannot, and no child needs to find out."""
    folders = [f for f in os.environ.get("LD_LIBRARY_PATH", "").split(":") if f]
    if any(Path(folder, _NVML).exists() for folder in (*folders, *_LOADER_FOLDERS)):
        return True
    try:
        return _NVML.encode() in _LOADER_CACHE.read_bytes()
    except OSError:  # another C library's loader, or closed to us: ask
        return True


def ask_nvml() -> dict[str, Any]:
    """The NVML child's answers in one dictionary; ``cut`` says why the wide sections after the first are not whole."""
    if not nvml_may_be_here():
        raise Absent("the NVIDIA management library (libnvidia-ml.so.1) is not installed")
    program = pkgutil.get_data("provision.facts", "nvml_child.py")  # a path would not do: we may run from a zipapp
    if program is None:
        raise Missing("this copy of the tool came without its NVML child")
    command = (sys.executable, "-c", program.decode(), str(Path(__file__).parents[1]))
    deadline = nvml_deadline(len(list(Path("/proc/driver/nvidia/gpus").glob("*"))))
    status, out, err, cut = hear_child(command, deadline, "NVML")
    if status != 0 and not cut:
        last = (err.strip() or "no message").splitlines()[-1]
        cut = f"the NVML child ended with status {status}: {last}"
    answer: dict[str, Any] = {}
    for line in out.splitlines(keepends=True):
        if line.endswith("\n"):  # else it was cut in the middle
            answer |= json.loads(line)
    if not answer:
        raise Missing(cut or "the NVML child said nothing")
    if "absent" in answer:
        raise Absent(str(answer["absent"]))
    if "missing" in answer:
        raise Missing(str(answer["missing"]))
    return answer | ({"cut": cut} if cut else {})
