"""Where the dynamic loader finds a library, and every other copy in the usual folders. No fact of its own."""

from __future__ import annotations

import posixpath
import re
from typing import Literal

from provision.host import Host, or_none
from provision.record import record

FOLDERS = (  # where drivers and toolkits put libraries, whether or not the loader's cache knows
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu/nvidia/current",
    "/usr/lib/aarch64-linux-gnu/nvidia/current",
    "/usr/lib64",
    "/usr/lib",
    "/usr/lib/wsl/lib",
    "/usr/local/nvidia/lib64",
)
Source = Literal["LD_LIBRARY_PATH", "ldconfig", "folder", "site-packages"]


@record
class Copy:
    name: str  # as asked for: "libcuda.so.1"
    path: str  # links resolved
    version: str | None  # behind ".so." in the file's own name, where it has a dot: "580.82.07"
    source: Source


def system_copies(host: Host, names: tuple[str, ...], more: tuple[str, ...] = ()) -> tuple[Copy, ...]:
    """Copies in the loader's order, each file once. ``more``: further folders to search."""
    places: list[tuple[str, str, Source]] = []
    for folder in (or_none(host.env, "LD_LIBRARY_PATH") or "").split(":"):
        places += [(name, f"{folder}/{name}", "LD_LIBRARY_PATH") for name in names if folder.startswith("/")]
    cached = cache(host)
    places += [(name, path, "ldconfig") for name in names for path in cached.get(name, ())]
    places += [(name, f"{folder}/{name}", "folder") for folder in (*FOLDERS, *more) for name in names]
    copies: dict[str, Copy] = {}
    for name, path, source in places:
        if host.exists(path):
            real = host.real(path)
            copies.setdefault(real, Copy(name=name, path=real, version=version_of(real), source=source))
    return tuple(copies.values())


def cache(host: Host) -> dict[str, list[str]]:
    """The loader's cache: library name to paths of the machine's own word size, in order."""
    found: dict[str, list[str]] = {}
    text = or_none(host.run, "ldconfig", "-p") or ""  # musl has no cache
    for name, kind, path in re.findall(r"^\s+(\S+) \((\S[^)]*)\) => (\S+)$", text, re.MULTILINE):
        if "x86-64" in kind or "AArch64" in kind:
            found.setdefault(name, []).append(path)
    return found


def version_of(path: str) -> str | None:
    """``libcuda.so.580.82.07`` as "580.82.07"; a bare ``.so.1`` is an interface number and no version."""
    found = re.search(r"\.so\.(\d+(?:\.\d+)+)$", posixpath.basename(path))
    return found[1] if found else None
