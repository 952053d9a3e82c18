"""Running the smoke test in its container: no network, nothing writable but memory, no privilege, always removed."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provision.engine import talking
from provision.errors import ChangeError, NotProved
from provision.files import write_whole
from provision.progress import say

if TYPE_CHECKING:
    from docker import DockerClient

OWNER_LABEL = "io.provision.owner"
REQUEST = "/run/provision/request.json"
SCRATCH_BYTES = 1 << 30
PROCESSES = 512  # torch starts a thread pool per core and kind; 512 holds 64 cores, a fork bomb ends there
_LAST_LINES = 12
_END_SECONDS = 15  # between the end of the output and the engine's word on why
_LATE_SECONDS = 2  # how long a word about memory may come after the end
_KILLED = 137
_AGAIN = "provision verify"
# (came from standard output, line); then None at the end, or what broke the reading off.
_Lines = queue.Queue[tuple[bool, str] | BaseException | None]


def run_smoke(
    client: DockerClient,
    image: str,
    request: Mapping[str, Any],
    *,
    timeout: float,
    gpus: bool = False,
    memory_bytes: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Run ``image`` with ``request`` and yield its proof lines as they come.

    ``timeout`` in seconds for the whole run. Standard error and lines that are no JSON object are progress. A
    container that dies, or ends without a proof, raises ``NotProved`` with the reason, after the lines that came;
    an engine that cannot do it or stops half-way raises ``ChangeError``. The container is removed in every case.
    """
    remove_orphans(client)
    folder = Path(tempfile.mkdtemp(prefix="provision-request-"))
    container = ""
    try:
        write_whole(folder / "request.json", json.dumps(request, sort_keys=True))
        folder.chmod(0o755)
        with talking(f"starting {image}"):
            container = _create(client, image, folder / "request.json", gpus=gpus, memory_bytes=memory_bytes)
        yield from _follow(client, container, time.monotonic() + timeout, timeout, memory_bytes)
    finally:
        shutil.rmtree(folder)
        if container:
            _remove(client, container)


def remove_orphans(client: DockerClient) -> None:
    """Remove containers of runs that were killed: those whose owner is a process that no longer lives."""
    with talking("looking for containers of killed runs"):
        for container in client.api.containers(all=True, filters={"label": OWNER_LABEL}):
            if not _alive(container["Labels"][OWNER_LABEL]):
                client.api.remove_container(container["Id"], force=True, v=True)
                for mount in container["Mounts"]:  # the request, in a folder of that run
                    if mount["Destination"] == REQUEST:
                        shutil.rmtree(Path(mount["Source"]).parent, ignore_errors=True)


def _create(client: DockerClient, image: str, request: Path, *, gpus: bool, memory_bytes: int | None) -> str:
    from docker.types import DeviceRequest, LogConfig, Mount

    api = client.api
    limits: dict[str, Any] = {}
    if memory_bytes is not None:  # the same with swap: a container that swaps proves nothing about speed
        limits = {"mem_limit": memory_bytes, "memswap_limit": memory_bytes}
    if gpus:
        limits["device_requests"] = [DeviceRequest(count=-1, capabilities=[["gpu"]])]
    host_config = api.create_host_config(
        network_mode="none",
        read_only=True,
        tmpfs={"/tmp": f"size={SCRATCH_BYTES},mode=1777"},  # noqa: S108 - inside the container, in memory
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        pids_limit=PROCESSES,
        mounts=[Mount(target=REQUEST, source=str(request), type="bind", read_only=True)],
        log_config=LogConfig(type="none"),  # the lines are read as they come; the engine keeps no second copy
        **limits,
    )
    made = api.create_container(
        image,
        command=["--request", REQUEST],
        host_config=host_config,
        labels={OWNER_LABEL: _owner()},
        network_disabled=True,
    )
    return str(made["Id"])


def _follow(
    client: DockerClient, container: str, deadline: float, timeout: float, memory_bytes: int | None
) -> Iterator[dict[str, Any]]:
    tail: deque[str] = deque(maxlen=_LAST_LINES)
    proofs = 0
    with _started_and_attached(client, container) as lines:
        while True:
            try:
                item = lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                last = f"; its last line was: {tail[-1]}" if tail else ""
                raise NotProved(
                    f"the smoke test did not end within {timeout:.0f} s and was stopped{last}", _AGAIN
                ) from None
            if item is None:
                break
            if isinstance(item, BaseException):
                with talking("reading from the smoke test"):
                    raise item
            is_output, text = item
            proof = _proof(text) if is_output else None
            if proof is None:
                tail.append(text)
                say(text)
            else:
                proofs += 1
                yield proof
    _judge(client, container, proofs, tail, memory_bytes)


@contextlib.contextmanager
def _started_and_attached(client: DockerClient, container: str) -> Iterator[_Lines]:
    """The container's lines from its very first one: attached before it starts.

    A thread reads them, because the SDK's reading of an attached stream has no deadline of its own.
    """
    lines: _Lines = queue.Queue()
    with talking("starting the smoke test"):
        output: Any = client.api.attach(container, stdout=True, stderr=True, stream=True, demux=True)
        reader = threading.Thread(target=_read, args=(output, lines), daemon=True)
        reader.start()
    try:
        with talking("starting the smoke test"):
            client.api.start(container)
        yield lines
    finally:
        with contextlib.suppress(OSError):  # the engine may have hung up first
            output.close()  # wakes the reader, but leaves the response (and its file handle) open
        output._response.close()
        reader.join(_END_SECONDS)


def _read(output: Iterator[tuple[bytes | None, bytes | None]], lines: _Lines) -> None:
    """Cut the two streams into lines: ``(True, line)`` from standard output; None at the end, or what went wrong."""
    rest = {True: b"", False: b""}
    try:
        for pair in output:
            for is_output, piece in zip((True, False), pair, strict=True):
                *whole, rest[is_output] = (rest[is_output] + (piece or b"")).split(b"\n")
                for line in whole:
                    lines.put((is_output, line.decode(errors="replace").rstrip()))
    except Exception as error:  # handed over to the thread that can report it
        lines.put(error)
        return
    for is_output, left in rest.items():
        if left:
            lines.put((is_output, left.decode(errors="replace").rstrip()))
    lines.put(None)


def _proof(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _judge(client: DockerClient, container: str, proofs: int, tail: deque[str], memory_bytes: int | None) -> None:
    """Say why the container ended, where it did not end well. Exit 1 with proofs is a proof that did not hold."""
    with talking("asking why the smoke test ended"):
        client.api.wait(container, timeout=_END_SECONDS)
        state = client.api.inspect_container(container)["State"]
        starved = state["OOMKilled"] or (state["ExitCode"] == _KILLED and _told_of_memory(client, container))
    code = state["ExitCode"]
    said = f". Its last lines: {' | '.join(tail)}" if tail else ""
    if starved:
        limit = f"its limit of {memory_bytes >> 20} MiB" if memory_bytes else "what the machine has"
        raise NotProved(f"the smoke test was killed for want of memory: it needed more than {limit}{said}", _AGAIN)
    if code == _KILLED:
        raise NotProved(f"the smoke test was killed from outside (signal 9) after {proofs} proofs{said}", _AGAIN)
    if code not in (0, 1) or proofs == 0:
        why = f" ({state['Error']})" if state.get("Error") else ""
        raise NotProved(f"the smoke test ended with exit code {code}{why} after {proofs} proofs{said}", _AGAIN)


def _told_of_memory(client: DockerClient, container: str) -> bool:
    """Whether the engine told of a lack of memory after it had told of the end: then its state says OOMKilled false.

    Seen once, on a busy machine (docker.io 20.10, 2026-11-24).
    """
    until = int(time.time()) + _LATE_SECONDS
    told = client.api.events(since=0, until=until, filters={"container": container, "event": "oom"}, decode=True)
    try:
        return any(True for _ in told)
    finally:
        told.close()


def _remove(client: DockerClient, container: str) -> None:
    import docker.errors

    try:
        with talking("removing the smoke test's container"), contextlib.suppress(docker.errors.NotFound):
            client.api.remove_container(container, force=True, v=True)
    except ChangeError as error:  # must not hide why the run failed; remove_orphans() has it next time
        say(f"{error.message}; the next run removes the container")


def _owner() -> str:
    """This process, in words that a later one can check: boot, process id, start time."""
    return f"{_boot()}/{os.getpid()}/{_started(os.getpid())}"


def _alive(owner: str) -> bool:
    boot, process, started = owner.split("/", 2)
    return boot == _boot() and _started(int(process)) == started


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _started(process: int) -> str:
    """Field 22 of /proc/PID/stat: with the process id it names one process of this boot. Empty when it is gone."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return stat.rpartition(")")[2].split()[19]
