"""The only door to a machine. Standard library only, Python 3.10.

``LocalHost`` looks at this machine; ``provision.recorded`` makes recordings and answers from them. Every
method raises ``Absent`` when the thing is not there and ``Missing`` when it could not be looked at, so that a probe
needs no ``try``. What can hang runs in a child process that is killed at its deadline; a child that does not even
die then (stuck in the kernel, as behind a hung driver) is left behind and said.
"""

from __future__ import annotations

import fnmatch
import glob as globbing
import json
import os
import shutil
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from provision import elf, local, unix_http
from provision.child import ask_nvml, run_child, search_path
from provision.fact import Absent, Missing, NotKnown
from provision.overlay import Stack

T = TypeVar("T")
DEADLINE_SECONDS = 2.0
READ_LIMIT_BYTES = 32 << 20  # dpkg's status file grows to several MB; a log is read through a command
READ_CHUNK_BYTES = 1 << 18  # /proc/sys refuses one read of several MB with "cannot allocate memory" (Linux 6.18)
_ROOM = {  # what statvfs is asked for: our name and C's
    "block_size": "f_frsize",
    "blocks": "f_blocks",
    "available_blocks": "f_bavail",
    "inodes": "f_files",
    "available_inodes": "f_favail",
}


class Host(Protocol):
    """What a probe may ask of a machine."""

    def read(self, path: str) -> str:
        """A text file's content, undecodable bytes replaced. Missing: larger than ``READ_LIMIT_BYTES``."""

    def link(self, path: str) -> str:
        """Where a symbolic link points, as written."""

    def real(self, path: str) -> str:
        """The path with every link resolved; the path itself where nothing is there."""

    def glob(self, pattern: str) -> tuple[str, ...]:
        """Paths that match, sorted; empty where nothing does. Missing: the folder before the first ``*`` is closed to us."""

    def exists(self, path: str) -> bool:
        """Whether a path is there (links followed). Missing: a folder on the way is closed to us."""

    def hexdump(self, path: str) -> str:
        """A small binary file's content (a device's configuration space), two hexadecimal digits a byte."""

    def node(self, path: str) -> dict[str, int]:
        """A device node's numbers and permissions, and may_use: see ``provision.local.node``. Nothing is opened."""

    def run(self, *command: str, timeout: float = DEADLINE_SECONDS, ok: tuple[int, ...] = (0,)) -> str:
        """Standard output of a command. Absent: no such program. Missing: no answer in time, or a status not in ``ok``."""

    def which(self, program: str) -> str:
        """The full path of a program on PATH (and the system's sbin folders)."""

    def env(self, name: str) -> str:
        """An environment variable of the asking process."""

    def env_names(self, pattern: str) -> tuple[str, ...]:
        """Names of environment variables that match, sorted: a secret can be seen without being read."""

    def statvfs(self, path: str, may_hang: bool = True) -> dict[str, int]:
        """block_size, blocks, available_blocks, inodes, available_inodes; in a child where the mount may hang."""

    def get(self, socket: str, path: str) -> Any:
        """A JSON answer to ``GET path`` from a service on a Unix socket (a container engine's API)."""

    def nvml(self) -> dict[str, Any]:
        """What the NVIDIA management library says (``provision.facts.nvml_child``), asked in a child."""

    def user(self) -> dict[str, Any]:
        """uid, gids, soft and hard limits of this process."""

    def interpreter(self) -> dict[str, str]:
        """version, executable and prefix of the Python that asks."""

    def status(self, path: str) -> dict[str, int]:
        """mode, uid, gid, size, folder and writable of a path: see ``provision.local.status``."""

    def tree(self, top: str, depth: int = 8, most: int = 5000, may_hang: bool = False) -> dict[str, Any]:
        """Files below a folder, bounded: see ``provision.local.tree``; in a child where the mount may hang."""

    def elf(self, path: str) -> dict[str, Any]:
        """What a shared library asks for and offers: see ``provision.elf.read``. Missing: it is no library."""

    def nvme_log(self, device: str) -> str:
        """An NVMe controller's health log: see ``provision.local.nvme_log``."""

    def clock(self) -> dict[str, int]:
        """Whether the kernel's clock is synchronised: see ``provision.local.clock``."""

    def asked(self, what: str) -> tuple[str, ...]:
        """What whoever looks wants looked at besides ("environment", "files"); empty where nothing was asked for."""

    def layered(self, layers: Sequence[str], folder: str) -> tuple[str, ...]:
        """Names in a folder of an image whose layers lie in these folders, the topmost first, sorted."""

    def installed(self, layers: Sequence[str], folders: Sequence[str], seconds: float) -> dict[str, Any]:
        """Files of Python packages against their recorded hashes, in a child: see ``provision.installed.verify``."""


def or_none(ask: Callable[..., T], *question: str, reasons: type[NotKnown] = Absent) -> T | None:
    """The answer, or None where the thing is absent. ``Missing`` climbs unless ``reasons=NotKnown`` lets it pass."""
    try:
        return ask(*question)
    except NotKnown as reason:
        if isinstance(reason, reasons):
            return None
        raise


def together(calls: Sequence[Callable[[], T]]) -> list[T | NotKnown]:
    """Every call's answer or reason, each in its own thread: one that waits for a hung mount holds up no other.

    (``concurrent.futures`` would do, and costs 20 ms of import: it brings ``logging``; measured 2026-11-24, 2 cores.)
    """
    answers: dict[int, T | NotKnown | BaseException] = {}

    def work(place: int, call: Callable[[], T]) -> None:
        try:
            answers[place] = call()
        except BaseException as error:
            answers[place] = error

    threads = []
    for pair in enumerate(calls):
        thread = threading.Thread(target=work, args=pair, daemon=True)
        try:
            thread.start()
            threads.append(thread)
        except RuntimeError:  # a control group or a user without a task left: one after the other then
            work(*pair)
    for thread in threads:
        thread.join()
    result: list[T | NotKnown] = []
    for place in range(len(calls)):
        answer = answers[place]
        if isinstance(answer, BaseException) and not isinstance(answer, NotKnown):
            raise answer
        result.append(answer)
    return result


class LocalHost:
    """This machine. It asks NVML once in its life; everything else it reads anew."""

    def __init__(self, asked: Mapping[str, tuple[str, ...]] | None = None) -> None:
        self._asked = dict(asked or {})
        self._asking = threading.Lock()
        self._nvml: dict[str, Any] | NotKnown | None = None

    def read(self, path: str) -> str:
        try:
            with open(path, "rb", buffering=0) as file:
                content = bytearray()
                while chunk := file.read(READ_CHUNK_BYTES):
                    content += chunk
                    if len(content) > READ_LIMIT_BYTES:
                        raise Missing(f"{path} is larger than {READ_LIMIT_BYTES >> 20} MiB")
        except OSError as error:
            raise _why(path, error) from None
        return content.decode(errors="replace")

    def link(self, path: str) -> str:
        try:
            return os.readlink(path)
        except OSError as error:
            raise _why(path, error) from None

    def real(self, path: str) -> str:
        return os.path.realpath(path)

    def glob(self, pattern: str) -> tuple[str, ...]:
        found = tuple(sorted(globbing.glob(pattern)))
        if not found:  # glob is silent about folders that it may not read
            folder = os.path.dirname(pattern.split("*", 1)[0].split("[", 1)[0].split("?", 1)[0])
            if self.exists(folder) and not os.access(folder, os.R_OK | os.X_OK, effective_ids=True):
                raise Missing(f"{folder}: permission denied")
        return found

    def exists(self, path: str) -> bool:
        try:
            os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise _why(path, error) from None
        return True

    def hexdump(self, path: str) -> str:
        return _asked(path, lambda: local.hexdump(path))

    def node(self, path: str) -> dict[str, int]:
        return _asked(path, lambda: local.node(path))

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

    def env_names(self, pattern: str) -> tuple[str, ...]:
        return tuple(sorted(name for name in os.environ if fnmatch.fnmatchcase(name, pattern)))

    def statvfs(self, path: str, may_hang: bool = True) -> dict[str, int]:
        if may_hang:
            look = "import json,os,sys;s=os.statvfs(sys.argv[1]);"
            tell = f"print(json.dumps({{n:getattr(s,f) for n,f in {_ROOM!r}.items()}}))"
            return {
                name: int(value)
                for name, value in json.loads(self.run(sys.executable, "-ISc", look + tell, path)).items()
            }
        try:
            room = os.statvfs(path)
        except OSError as error:
            raise _why(path, error) from None
        return {name: getattr(room, field) for name, field in _ROOM.items()}

    def get(self, socket: str, path: str) -> Any:
        return unix_http.get(socket, path, DEADLINE_SECONDS)

    def nvml(self) -> dict[str, Any]:
        with self._asking:  # several probes read parts of one answer
            if self._nvml is None:
                try:
                    self._nvml = ask_nvml()
                except NotKnown as reason:
                    self._nvml = reason
        if isinstance(self._nvml, NotKnown):
            raise type(self._nvml)(self._nvml.reason)
        return self._nvml

    def user(self) -> dict[str, Any]:
        import resource

        limits = {
            name: list(resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}")))
            for name in ("memlock", "nofile")
        }
        return {"uid": os.geteuid(), "gids": sorted({os.getegid(), *os.getgroups()}), "limits": limits}

    def interpreter(self) -> dict[str, str]:
        return {"version": ".".join(map(str, sys.version_info[:3])), "executable": sys.executable, "prefix": sys.prefix}

    def status(self, path: str) -> dict[str, int]:
        return _asked(path, lambda: local.status(path))

    def tree(self, top: str, depth: int = 8, most: int = 5000, may_hang: bool = False) -> dict[str, Any]:
        if may_hang:
            return dict(self._in_child(DEADLINE_SECONDS, "local", "tree", top, depth, most))
        return _asked(top, lambda: local.tree(top, depth, most))

    def elf(self, path: str) -> dict[str, Any]:
        try:
            return _asked(path, lambda: elf.read(path))
        except elf.NotElf as error:
            raise Missing(f"{path}: {error}") from None

    def nvme_log(self, device: str) -> str:
        return _asked(device, lambda: local.nvme_log(device))

    def clock(self) -> dict[str, int]:
        return _asked("the kernel's clock", local.clock)

    def asked(self, what: str) -> tuple[str, ...]:
        return self._asked.get(what, ())

    def layered(self, layers: Sequence[str], folder: str) -> tuple[str, ...]:
        return tuple(sorted(_asked(folder, lambda: Stack(tuple(layers)).names(folder))))

    def installed(self, layers: Sequence[str], folders: Sequence[str], seconds: float) -> dict[str, Any]:
        given = (list(layers), list(folders), seconds, os.getpid())
        return dict(self._in_child(seconds + DEADLINE_SECONDS, "installed", "verify", *given))

    def _in_child(self, timeout: float, module: str, function: str, *given: Any) -> Any:
        """A function of a module of ours. -S and not -I: the child must find the package that this process runs from."""
        say = "import json,sys;sys.path.insert(0,sys.argv[1]);from importlib import import_module as load;"
        tell = "print(json.dumps(getattr(load('provision.'+sys.argv[2]),sys.argv[3])(*json.loads(sys.argv[4]))))"
        where = (str(Path(__file__).parents[1]), module, function, json.dumps(given))
        return json.loads(self.run(sys.executable, "-S", "-c", say + tell, *where, timeout=timeout))


def _asked(path: str, ask: Callable[[], T]) -> T:
    try:
        return ask()
    except OSError as error:
        raise _why(path, error) from None


def _why(path: str, error: OSError) -> NotKnown:
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return Absent(f"{path} is not there")
    return Missing(f"{path}: {(error.strerror or str(error)).lower()}")
