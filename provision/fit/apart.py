"""A checkpoint on a file system that may hang (a network mount, a daemon's) is read in a child that is killed in time."""

from __future__ import annotations

import base64
import json
import os
import sys
import zlib
from collections import deque
from pathlib import Path
from typing import Any

from provision.errors import UsageError
from provision.fact import NotKnown
from provision.facts.disks import MountLine
from provision.fit import checkpoint
from provision.fit.source import shown
from provision.host import Host, LocalHost

DEADLINE_SECONDS = 20.0  # 1,000 files of which each costs a server some 5 ms, and as much again
_LINKS = 40  # as the kernel counts
_SCRIPT = "import sys;sys.path.insert(0,sys.argv[2]);from provision.fit import apart as a;print(a.answer(sys.argv[1]))"


def hanging(host: Host) -> frozenset[str]:
    """Mount points of this machine that may hang."""
    lines = [MountLine.parse(text) for text in host.read("/proc/self/mountinfo").splitlines()]
    last = {line.mount_point: line for line in lines}  # a later mount hides an earlier one at the same place
    return frozenset(place for place, line in last.items() if line.may_hang() or line.filesystem == "autofs")


def may_hang(path: str, host: Host | None = None) -> bool:
    """Whether the folder, or the file, or what a link in the folder leads to, lies on a file system that may hang."""
    places = hanging(host or LocalHost())
    if not places:
        return False
    if _leads_there(path, places):
        return True
    try:
        with os.scandir(path) as entries:
            return any(_leads_there(entry.path, places) for entry in entries if entry.is_symlink())
    except OSError:  # a file, or what the reader itself will name
        return False


def _leads_there(path: str, places: frozenset[str]) -> bool:
    """Follow ``path`` link by link, and stop before the first step that would ask a file system that may hang."""
    left, here, links = deque(os.path.abspath(path).split("/")), "/", 0
    while left:
        step = left.popleft()
        if step in ("", "."):
            continue
        if step == "..":
            here = os.path.dirname(here)
            continue
        here = os.path.join(here, step)
        if here in places:
            return True
        try:
            target = os.readlink(here)
        except (OSError, ValueError):  # no link, or nothing at all
            continue
        links += 1
        if links > _LINKS:
            return False
        left.extendleft(reversed(target.split("/")))
        here = "/" if target.startswith("/") else os.path.dirname(here)
    return False


def read(path: str, host: Host | None = None) -> checkpoint.Checkpoint:
    """As ``checkpoint.read_here``, in a child. Raises ``UsageError``, also where no answer came in time."""
    home = str(Path(__file__).parents[2])
    command = (sys.executable, "-S", "-c", _SCRIPT, os.path.abspath(path), home)
    try:
        said = (host or LocalHost()).run(*command, timeout=DEADLINE_SECONDS)
    except NotKnown as reason:
        why = f"it lies on a file system that may hang, and the child that read it failed: {shown(reason.reason)}"
        raise UsageError(f"{shown(path)}: {why}") from None
    answer: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(said)))
    if "wrong" in answer:
        raise UsageError(answer["wrong"])
    tensors = tuple(
        checkpoint.Tensor(name=name, dtype=dtype, shape=tuple(shape), bytes=size)
        for name, dtype, shape, size in answer.pop("tensors")
    )
    return checkpoint.Checkpoint(**answer | {"path": path, "files": tuple(answer["files"]), "tensors": tensors})


def answer(path: str) -> str:
    """What the child says: packed, because the names of a large model fill more than a child may say (16 MiB)."""
    try:
        read = checkpoint.read_here(path)
        found = vars(read) | {"tensors": [(one.name, one.dtype, one.shape, one.bytes) for one in read.tensors]}
    except UsageError as error:
        found = {"wrong": error.message}
    return base64.b64encode(zlib.compress(json.dumps(found).encode(), 1)).decode()
