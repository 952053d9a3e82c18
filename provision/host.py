"""The only door to a machine. Standard library only, Python 3.10.

``LocalHost`` looks at this machine, ``RecordedHost`` answers from a recording, ``RecordingHost`` makes one. Every
method raises ``Absent`` when the thing is not there and ``Missing`` when it could not be looked at, so that a probe
needs no ``try``. What can hang runs in a child process that is killed at its deadline; a child that does not even
die then (stuck in the kernel, as behind a hung driver) is left behind and said.
"""

from __future__ import annotations

import contextlib
import fnmatch
import glob as globbing
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from provision.fact import Absent, Missing, NotKnown

T = TypeVar("T")
DEADLINE_SECONDS = 2.0
GRACE_SECONDS = 0.2  # after SIGKILL a healthy child is gone in about a millisecond
READ_LIMIT_BYTES = 4 << 20  # /proc and /sys files are small; a log is read by its tail through a command
OUTPUT_LIMIT_BYTES = 16 << 20


class Host(Protocol):
    """What a probe may ask of a machine."""

    def read(self, path: str) -> str:
        """A text file's content, undecodable bytes replaced. At most ``READ_LIMIT_BYTES``."""

    def link(self, path: str) -> str:
        """Where a symbolic link points, as written."""

    def glob(self, pattern: str) -> tuple[str, ...]:
        """Paths that match, sorted; empty where nothing does."""

    def exists(self, path: str) -> bool:
        """Whether a path is there (links followed)."""

    def run(self, *command: str, timeout: float = DEADLINE_SECONDS, ok: tuple[int, ...] = (0,)) -> str:
        """Standard output of a command. Absent: no such program. Missing: no answer in time, or a status not in ``ok``."""

    def which(self, program: str) -> str:
        """The full path of a program on PATH (and the system's sbin folders)."""

    def env(self, name: str) -> str:
        """An environment variable of the asking process."""

    def statvfs(self, path: str, may_hang: bool = True) -> dict[str, int]:
        """block_size, blocks, available_blocks, inodes, available_inodes; in a child where the mount may hang."""

    def get(self, socket: str, path: str) -> Any:
        """A JSON answer to ``GET path`` from a service on a Unix socket (a container engine's API)."""

    def nvml(self) -> dict[str, Any]:
        """What the NVIDIA management library says (``provision.facts.nvml_child``), asked in a child."""

    def user(self) -> dict[str, Any]:
        """uid, gids, soft and hard limits of this process."""


def search_path() -> str:
    """PATH with the folders where administrators' programs live: cron and sudo often leave them out."""
    return os.pathsep.join((os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"))


def plain_environment() -> dict[str, str]:
    """This environment with the C locale, so that messages read the same everywhere."""
    return {**os.environ, "LC_ALL": "C", "LANGUAGE": "", "PATH": search_path()}


def run_child(command: tuple[str, ...], timeout: float) -> tuple[int, str, str]:
    """Status, output and errors of a command that is killed with its whole process group at the deadline.

    Raises ``Absent`` (no such program) or ``Missing`` (no permission, no answer in time).
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
    except PermissionError:
        raise Missing(f"{command[0]}: permission denied") from None
    except OSError as error:
        raise Missing(f"{command[0]}: {error.strerror}") from None
    try:
        out, err = child.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise Missing(_give_up(child, command, timeout)) from None
    text = out[:OUTPUT_LIMIT_BYTES].decode(errors="replace"), err[:OUTPUT_LIMIT_BYTES].decode(errors="replace")
    return child.returncode, *text


def _give_up(child: subprocess.Popen[bytes], command: tuple[str, ...], timeout: float) -> str:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    said = f"{' '.join(command[:3])} gave no answer in {timeout:g} s"
    try:
        child.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        return f"{said} and cannot be killed (process {child.pid} is stuck in the kernel)"
    finally:
        for pipe in (child.stdout, child.stderr):
            if pipe is not None:
                pipe.close()
    return said


class LocalHost:
    """This machine."""

    def read(self, path: str) -> str:
        try:
            with open(path, "rb") as file:
                return file.read(READ_LIMIT_BYTES).decode(errors="replace")
        except OSError as error:
            raise _why(path, error) from None

    def link(self, path: str) -> str:
        try:
            return os.readlink(path)
        except OSError as error:
            raise _why(path, error) from None

    def glob(self, pattern: str) -> tuple[str, ...]:
        return tuple(sorted(globbing.glob(pattern)))

    def exists(self, path: str) -> bool:
        return os.path.exists(path)

    def run(self, *command: str, timeout: float = DEADLINE_SECONDS, ok: tuple[int, ...] = (0,)) -> str:
        status, out, err = run_child(command, timeout)
        if status not in ok:
            last = (err.strip() or out.strip() or "no message").splitlines()[-1]
            raise Missing(f"{' '.join(command[:3])} failed with status {status}: {last}")
        return out

    def which(self, program: str) -> str:
        found = shutil.which(program, path=search_path())
        if found is None:
            raise Absent(f"{program} is not installed")
        return found

    def env(self, name: str) -> str:
        try:
            return os.environ[name]
        except KeyError:
            raise Absent(f"{name} is not set") from None

    def statvfs(self, path: str, may_hang: bool = True) -> dict[str, int]:
        if not may_hang:
            try:
                s = os.statvfs(path)
            except OSError as error:
                raise _why(path, error) from None
            return {
                "block_size": s.f_frsize,
                "blocks": s.f_blocks,
                "available_blocks": s.f_bavail,
                "inodes": s.f_files,
                "available_inodes": s.f_favail,
            }
        script = (
            "import json,os,sys;s=os.statvfs(sys.argv[1]);"
            "print(json.dumps(dict(block_size=s.f_frsize,blocks=s.f_blocks,available_blocks=s.f_bavail,"
            "inodes=s.f_files,available_inodes=s.f_favail)))"
        )
        return _ints(self.run(sys.executable, "-ISc", script, path))

    def get(self, socket: str, path: str) -> Any:
        return _get(socket, path)

    def nvml(self) -> dict[str, Any]:
        child = Path(__file__).with_name("facts") / "nvml_child.py"
        status, out, err = run_child((sys.executable, str(child)), DEADLINE_SECONDS)
        if status != 0:
            last = (err.strip() or "no message").splitlines()[-1]
            raise Missing(f"the NVML child ended with status {status}: {last}")
        answer: dict[str, Any] = json.loads(out)
        if "absent" in answer:
            raise Absent(str(answer["absent"]))
        if "missing" in answer:
            raise Missing(str(answer["missing"]))
        return answer

    def user(self) -> dict[str, Any]:
        import resource

        limits = {
            name: list(resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))) for name in ("memlock", "nofile")
        }
        return {"uid": os.geteuid(), "gids": sorted({os.getegid(), *os.getgroups()}), "limits": limits}


def _why(path: str, error: OSError) -> NotKnown:
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return Absent(f"{path} is not there")
    return Missing(f"{path}: {(error.strerror or str(error)).lower()}")


def _get(path_of_socket: str, path: str) -> Any:
    """One HTTP/1.0 exchange: short enough to need no library, and it works where the engine's client is not installed."""
    import socket

    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(DEADLINE_SECONDS)
            line.connect(path_of_socket)
            line.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
            answer = b"".join(iter(lambda: line.recv(65536), b""))
    except (FileNotFoundError, NotADirectoryError):
        raise Absent(f"{path_of_socket} is not there") from None
    except TimeoutError:
        raise Missing(f"{path_of_socket} gave no answer in {DEADLINE_SECONDS:g} s") from None
    except OSError as error:
        raise Missing(f"{path_of_socket}: {(error.strerror or str(error)).lower()}") from None
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split(b" ", 2)[1:2]
    if status != [b"200"]:
        raise Missing(f"{path_of_socket}: GET {path} answered {head.splitlines()[:1]}")
    try:
        return json.loads(body)
    except ValueError:
        raise Missing(f"{path_of_socket}: GET {path} answered no JSON") from None


def _ints(text: str) -> dict[str, int]:
    return {key: int(value) for key, value in json.loads(text).items()}


class RecordingHost:
    """Asks another host and keeps every question with its answer, as ``RecordedHost`` reads it."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.answers: dict[str, Any] = {}

    def _ask(self, question: str, answer: Callable[[], T]) -> T:
        try:
            value = answer()
        except NotKnown as reason:
            self.answers[question] = {type(reason).__name__.lower(): reason.reason}
            raise
        self.answers[question] = {"known": value}
        return value

    def read(self, path: str) -> str:
        return self._ask(f"read {path}", lambda: self._host.read(path))

    def link(self, path: str) -> str:
        return self._ask(f"link {path}", lambda: self._host.link(path))

    def glob(self, pattern: str) -> tuple[str, ...]:
        return self._ask(f"glob {pattern}", lambda: self._host.glob(pattern))

    def exists(self, path: str) -> bool:
        return self._ask(f"exists {path}", lambda: self._host.exists(path))

    def run(self, *command: str, timeout: float = DEADLINE_SECONDS, ok: tuple[int, ...] = (0,)) -> str:
        return self._ask(f"run {' '.join(command)}", lambda: self._host.run(*command, timeout=timeout, ok=ok))

    def which(self, program: str) -> str:
        return self._ask(f"which {program}", lambda: self._host.which(program))

    def env(self, name: str) -> str:
        return self._ask(f"env {name}", lambda: self._host.env(name))

    def statvfs(self, path: str, may_hang: bool = True) -> dict[str, int]:
        return self._ask(f"statvfs {path}", lambda: self._host.statvfs(path, may_hang))

    def get(self, socket: str, path: str) -> Any:
        return self._ask(f"get {socket} {path}", lambda: self._host.get(socket, path))

    def nvml(self) -> dict[str, Any]:
        return self._ask("nvml", self._host.nvml)

    def user(self) -> dict[str, Any]:
        return self._ask("user", self._host.user)


class RecordedHost:
    """Answers from a recording: ``{"read /proc/meminfo": {"known": "…"}, "nvml": {"absent": "…"}, …}``.

    What was not recorded: a file, link, program or variable is absent, ``exists`` follows from the recorded paths, a
    glob matches over them, a command is not installed. So a hand-made case states only what matters to it.
    """

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self._answers = answers
        self._paths = sorted({q.split(" ", 1)[1] for q in answers if q.split(" ", 1)[0] in ("read", "link", "statvfs")})

    def _answer(self, question: str, unrecorded: str) -> Any:
        entry = self._answers.get(question)
        if entry is None:
            raise Absent(unrecorded)
        if "absent" in entry:
            raise Absent(entry["absent"])
        if "missing" in entry:
            raise Missing(entry["missing"])
        return entry["known"]

    def read(self, path: str) -> str:
        return str(self._answer(f"read {path}", f"{path} is not there"))

    def link(self, path: str) -> str:
        return str(self._answer(f"link {path}", f"{path} is not there"))

    def glob(self, pattern: str) -> tuple[str, ...]:
        if f"glob {pattern}" in self._answers:
            return tuple(self._answer(f"glob {pattern}", ""))
        return tuple(p for p in self._paths if _glob_matches(p, pattern))

    def exists(self, path: str) -> bool:
        if f"exists {path}" in self._answers:
            return bool(self._answer(f"exists {path}", ""))
        return any(p == path or p.startswith(f"{path}/") for p in self._paths)

    def run(self, *command: str, timeout: float = DEADLINE_SECONDS, ok: tuple[int, ...] = (0,)) -> str:  # noqa: ARG002
        return str(self._answer(f"run {' '.join(command)}", f"{command[0]} is not installed"))

    def which(self, program: str) -> str:
        return str(self._answer(f"which {program}", f"{program} is not installed"))

    def env(self, name: str) -> str:
        return str(self._answer(f"env {name}", f"{name} is not set"))

    def get(self, socket: str, path: str) -> Any:
        return self._answer(f"get {socket} {path}", f"{socket} is not there")

    def statvfs(self, path: str, may_hang: bool = True) -> dict[str, int]:  # noqa: ARG002
        return dict(self._answer(f"statvfs {path}", f"{path} is not there"))

    def nvml(self) -> dict[str, Any]:
        return dict(self._answer("nvml", "the NVIDIA management library (libnvidia-ml.so.1) is not installed"))

    def user(self) -> dict[str, Any]:
        return dict(self._answer("user", "the user was not recorded"))


def _glob_matches(path: str, pattern: str) -> bool:
    """Whether a path matches, ``*`` staying inside one folder as the shell has it."""
    parts, wanted = path.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))
