"""Recordings of a machine: one host that makes them, one that answers from them. Standard library only, Python 3.10.

A recording maps a question to its answer or to the reason there was none:
``{"read /proc/meminfo": {"known": "…"}, "link /etc/mtab": {"missing": "/etc/mtab: permission denied"}, …}``.
"""

from __future__ import annotations

import fnmatch
import posixpath
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from provision.fact import Absent, Missing, NotKnown
from provision.host import DEADLINE_SECONDS, Host

T = TypeVar("T")
_OF_A_PATH = ("read", "link", "statvfs", "status", "tree", "elf")  # questions that say that something is there


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

    def real(self, path: str) -> str:
        return self._ask(f"real {path}", lambda: self._host.real(path))

    def glob(self, pattern: str) -> tuple[str, ...]:
        return self._ask(f"glob {pattern}", lambda: self._host.glob(pattern))

    def exists(self, path: str) -> bool:
        return self._ask(f"exists {path}", lambda: self._host.exists(path))

    def hexdump(self, path: str) -> str:
        return self._ask(f"hexdump {path}", lambda: self._host.hexdump(path))

    def node(self, path: str) -> dict[str, int]:
        return self._ask(f"node {path}", lambda: self._host.node(path))

    def run(self, *command: str, timeout: float = DEADLINE_SECONDS, ok: tuple[int, ...] = (0,)) -> str:
        return self._ask(f"run {' '.join(command)}", lambda: self._host.run(*command, timeout=timeout, ok=ok))

    def which(self, program: str) -> str:
        return self._ask(f"which {program}", lambda: self._host.which(program))

    def env(self, name: str) -> str:
        return self._ask(f"env {name}", lambda: self._host.env(name))

    def env_names(self, pattern: str) -> tuple[str, ...]:
        return self._ask(f"env_names {pattern}", lambda: self._host.env_names(pattern))

    def statvfs(self, path: str, may_hang: bool = True) -> dict[str, int]:
        return self._ask(f"statvfs {path}", lambda: self._host.statvfs(path, may_hang))

    def get(self, socket: str, path: str) -> Any:
        return self._ask(f"get {socket} {path}", lambda: self._host.get(socket, path))

    def nvml(self) -> dict[str, Any]:
        return self._ask("nvml", self._host.nvml)

    def user(self) -> dict[str, Any]:
        return self._ask("user", self._host.user)

    def interpreter(self) -> dict[str, str]:
        return self._ask("interpreter", self._host.interpreter)

    def status(self, path: str) -> dict[str, int]:
        return self._ask(f"status {path}", lambda: self._host.status(path))

    def tree(self, top: str, depth: int = 8, most: int = 5000, may_hang: bool = False) -> dict[str, Any]:
        return self._ask(f"tree {top}", lambda: self._host.tree(top, depth, most, may_hang))

    def elf(self, path: str) -> dict[str, Any]:
        return self._ask(f"elf {path}", lambda: self._host.elf(path))

    def nvme_log(self, device: str) -> str:
        return self._ask(f"nvme_log {device}", lambda: self._host.nvme_log(device))

    def clock(self) -> dict[str, int]:
        return self._ask("clock", self._host.clock)

    def asked(self, what: str) -> tuple[str, ...]:
        return self._ask(f"asked {what}", lambda: self._host.asked(what))

    def layered(self, layers: Sequence[str], folder: str) -> tuple[str, ...]:
        return self._ask(f"layered {':'.join(layers)} {folder}", lambda: self._host.layered(layers, folder))

    def installed(self, layers: Sequence[str], folders: Sequence[str], seconds: float) -> dict[str, Any]:
        question = f"installed {':'.join(layers)} {' '.join(folders)}"
        return self._ask(question, lambda: self._host.installed(layers, folders, seconds))


class RecordedHost:
    """Answers from a recording: ``{"read /proc/meminfo": {"known": "…"}, "nvml": {"absent": "…"}, …}``.

    What was not recorded: a file, link, program or variable is absent, ``exists`` follows from the recorded paths, a
    glob matches over them, a command is not installed. So a hand-made case states only what matters to it.
    """

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self._answers = answers
        self._paths = sorted(
            {
                q.split(" ", 1)[1]
                for q in answers
                if q.split(" ", 1)[0] in ("read", "link", "statvfs", "status", "tree", "elf", "hexdump", "node")
            }
        )

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

    def real(self, path: str) -> str:
        if f"real {path}" in self._answers:
            return str(self._answer(f"real {path}", ""))
        for _ in range(40):  # the kernel's own limit on links in a row
            target = self._answers.get(f"link {path}", {}).get("known")
            if target is None:
                break
            path = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
        return path

    def glob(self, pattern: str) -> tuple[str, ...]:
        if f"glob {pattern}" in self._answers:
            return tuple(self._answer(f"glob {pattern}", ""))
        return tuple(p for p in self._paths if _glob_matches(p, pattern))

    def exists(self, path: str) -> bool:
        if f"exists {path}" in self._answers:
            return bool(self._answer(f"exists {path}", ""))
        return any(p == path or p.startswith(f"{path}/") for p in self._paths)

    def hexdump(self, path: str) -> str:
        return str(self._answer(f"hexdump {path}", f"{path} is not there"))

    def node(self, path: str) -> dict[str, int]:
        return dict(self._answer(f"node {path}", f"{path} is not there"))

    def run(self, *command: str, timeout: float = DEADLINE_SECONDS, ok: tuple[int, ...] = (0,)) -> str:  # noqa: ARG002
        return str(self._answer(f"run {' '.join(command)}", f"{command[0]} is not installed"))

    def which(self, program: str) -> str:
        return str(self._answer(f"which {program}", f"{program} is not installed"))

    def env(self, name: str) -> str:
        return str(self._answer(f"env {name}", f"{name} is not set"))

    def env_names(self, pattern: str) -> tuple[str, ...]:
        if f"env_names {pattern}" in self._answers:
            return tuple(self._answer(f"env_names {pattern}", ""))
        names = sorted(q.split(" ", 1)[1] for q in self._answers if q.startswith("env "))
        return tuple(name for name in names if fnmatch.fnmatchcase(name, pattern))

    def get(self, socket: str, path: str) -> Any:
        return self._answer(f"get {socket} {path}", f"{socket} is not there")

    def statvfs(self, path: str, may_hang: bool = True) -> dict[str, int]:  # noqa: ARG002
        return dict(self._answer(f"statvfs {path}", f"{path} is not there"))

    def nvml(self) -> dict[str, Any]:
        return dict(self._answer("nvml", "the NVIDIA management library (libnvidia-ml.so.1) is not installed"))

    def user(self) -> dict[str, Any]:
        return dict(self._answer("user", "the user was not recorded"))

    def interpreter(self) -> dict[str, str]:
        return dict(self._answer("interpreter", "the interpreter was not recorded"))

    def status(self, path: str) -> dict[str, int]:
        return dict(self._answer(f"status {path}", f"{path} is not there"))

    def tree(self, top: str, depth: int = 8, most: int = 5000, may_hang: bool = False) -> dict[str, Any]:  # noqa: ARG002
        return dict(self._answer(f"tree {top}", f"{top} is not there"))

    def elf(self, path: str) -> dict[str, Any]:
        return dict(self._answer(f"elf {path}", f"{path} is not there"))

    def nvme_log(self, device: str) -> str:
        return str(self._answer(f"nvme_log {device}", f"{device} is not there"))

    def clock(self) -> dict[str, int]:
        return dict(self._answer("clock", "the clock was not recorded"))

    def asked(self, what: str) -> tuple[str, ...]:
        return tuple(self._answers.get(f"asked {what}", {}).get("known", ()))

    def layered(self, layers: Sequence[str], folder: str) -> tuple[str, ...]:
        return tuple(self._answer(f"layered {':'.join(layers)} {folder}", f"{folder} is not there"))

    def installed(self, layers: Sequence[str], folders: Sequence[str], seconds: float) -> dict[str, Any]:  # noqa: ARG002
        return dict(self._answer(f"installed {':'.join(layers)} {' '.join(folders)}", f"{folders[0]} is not there"))


def _glob_matches(path: str, pattern: str) -> bool:
    """Whether a path matches, ``*`` staying inside one folder as the shell has it."""
    parts, wanted = path.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))
