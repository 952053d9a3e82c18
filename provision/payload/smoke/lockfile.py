"""A hashed requirements file against the distributions that are installed. Standard library only."""

from __future__ import annotations

import re
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

SEEDS = ("pip", "setuptools", "wheel")  # what a Python brings along before anyone asks for a package
PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*===?\s*([^\s;\\=]+)(.*)")


def normal_name(name: str) -> str:
    """PEP 503: case and the separators do not matter."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(text: str) -> dict[str, str]:
    """Name to version of every line of a lock.

    Raises ValueError, with the line's number, for a line that is not `name==version`, and for an empty lock.
    """
    found: dict[str, str] = {}
    joined = ""
    for number, raw in enumerate(text.splitlines(), start=1):
        joined += " " + re.sub(r"(^|\s)#.*", "", raw).strip()
        if joined.endswith("\\"):
            joined = joined[:-1]
            continue
        line, joined = joined.strip(), ""
        if not line or line.startswith("--"):  # an option line, such as --require-hashes
            continue
        match = PIN.fullmatch(line)
        if match is None:
            raise ValueError(f"line {number}: expected name==version, got {line[:60]!r}")
        found[normal_name(match[1])] = match[2]
    if not found:
        raise ValueError("it names no package")
    return found


def installed() -> dict[str, tuple[str, Path]]:
    """Name to version and folder of every distribution Python can import from, the first on the path winning."""
    found: dict[str, tuple[str, Path]] = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name:
            found.setdefault(normal_name(name), (distribution.version, Path(str(distribution.locate_file("")))))
    return found


def is_of_the_base(name: str, folder: Path) -> bool:
    """Whether a distribution came with the Python itself and not with the environment.

    Only pip, setuptools and wheel can: outside a virtual environment wherever they are, inside one only where they
    lie outside it. A pip within the environment is an extra package: it lets whoever gets in install more.
    """
    if name not in SEEDS:
        return False
    in_environment = folder.resolve() == Path(sysconfig.get_paths()["purelib"]).resolve()
    return sys.prefix == sys.base_prefix or not in_environment


def same_version(locked: str, present: str) -> bool:
    """PEP 440 for `==`: a local tag (+cpu) counts when the lock names one."""
    return locked == present or ("+" not in locked and locked == present.partition("+")[0])


def differences(locked: dict[str, str], present: dict[str, tuple[str, Path]]) -> dict[str, list[str]]:
    """What is missing, extra, and of another version, each by name."""
    return {
        "missing": [f"{name}=={version}" for name, version in sorted(locked.items()) if name not in present],
        "extra": [
            f"{name}=={version}"
            for name, (version, folder) in sorted(present.items())
            if name not in locked and not is_of_the_base(name, folder)
        ],
        "other_version": [
            f"{name}: lock {version}, installed {present[name][0]}"
            for name, version in sorted(locked.items())
            if name in present and not same_version(version, present[name][0])
        ],
    }
