"""Whether this machine is the kind that a bundle was made for."""

from __future__ import annotations

import os
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from .errors import Refused
from .manifest import MadeFor


@dataclass(frozen=True)
class Here:
    """A machine as ``MadeFor`` describes one. ``debian``: the code name; on another system that system's own name."""

    architecture: str
    debian: str
    glibc: str
    python: str


def look() -> Here:
    """The machine that this runs on, and the Python that runs it."""
    try:
        release = Path("/etc/os-release").read_text(encoding="utf-8", errors="replace")
    except OSError:
        release = ""
    return Here(
        architecture=platform.machine(),
        debian=debian(release),
        glibc=(os.confstr("CS_GNU_LIBC_VERSION") or "none").rpartition(" ")[2],
        python=f"{sys.version_info[0]}.{sys.version_info[1]}",
    )


def debian(release: str) -> str:
    """The code name in the text of ``/etc/os-release`` where that is Debian's, else which system it is."""
    lines = (line.partition("=") for line in release.splitlines() if "=" in line)
    said = {key: value.strip("\"'") for key, _, value in lines}
    return said.get("VERSION_CODENAME" if said.get("ID") == "debian" else "ID", "an unknown one")


def need_fit(path: Path, made_for: MadeFor) -> None:
    """Raises ``Refused`` where this machine is not the kind that the bundle at ``path`` was made for."""
    if different := differences(made_for, look()):
        raise Refused(f"{path}: it does not fit this machine. " + "; ".join(different))


def differences(made_for: MadeFor, here: Here) -> tuple[str, ...]:
    """A sentence for everything in which ``here`` is another machine; empty where the bundle fits."""
    pairs = (
        ("architecture", made_for.architecture, here.architecture, made_for.architecture == here.architecture),
        ("Debian release", made_for.debian, here.debian, made_for.debian == here.debian),
        ("Python", made_for.python, here.python, made_for.python == here.python),
        ("glibc", f"{made_for.glibc} or newer", here.glibc, _numbers(here.glibc) >= _numbers(made_for.glibc)),
    )
    return tuple(
        f"{what}: the bundle is for {wanted}, this machine has {found}"
        for what, wanted, found, fits in pairs
        if not fits
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))
