"""Whether this machine is the kind that a bundle was made for."""

from __future__ import annotations

import os
import platform
import re
import sys
from pathlib import Path

from .manifest import MadeFor


def differences(made_for: MadeFor) -> tuple[str, ...]:
    """A sentence for everything in which this machine is another one; empty where the bundle fits."""
    release = _release()
    debian = (
        release.get("VERSION_CODENAME", "unknown") if release.get("ID") == "debian" else release.get("ID", "unknown")
    )
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    glibc = (os.confstr("CS_GNU_LIBC_VERSION") or "none").rpartition(" ")[2]
    pairs = (
        ("architecture", made_for.architecture, platform.machine(), made_for.architecture == platform.machine()),
        ("Debian release", made_for.debian, debian, made_for.debian == debian),
        ("Python", made_for.python, python, made_for.python == python),
        ("glibc", f"{made_for.glibc} or newer", glibc, _numbers(glibc) >= _numbers(made_for.glibc)),
    )
    return tuple(
        f"{what}: the bundle is for {wanted}, this machine has {here}" for what, wanted, here, fits in pairs if not fits
    )


def _release() -> dict[str, str]:
    try:
        text = Path("/etc/os-release").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    lines = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key: value.strip("\"'") for key, _, value in lines}


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))
