"""What a wheel says: of its platform and Pythons by its name, of what it requires by its METADATA."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from email.message import Message

from provision.catalog.version import numbers
from provision.lock.listing import PackageFile

_MANYLINUX = {
    "manylinux1": "2.5",
    "manylinux2010": "2.12",
    "manylinux2014": "2.17",
}  # PEP 513, 571, 599; else in the tag
_LINUX = {"platform_system": "Linux", "platform_machine": "x86_64", "sys_platform": "linux", "os_name": "posix"}


def is_linux(filename: str) -> bool:
    """Whether it loads on Linux x86_64."""
    platform = filename.removesuffix(".whl").rpartition("-")[2]
    return platform == "any" or ("linux" in platform and platform.endswith("x86_64"))


def python(filename: str) -> str:
    """ "3.11" of an ordinary CPython's wheel; empty for abi3, free-threaded and pure ones."""
    found = re.search(r"-cp(\d)(\d+)-cp\1\2m?-", filename)
    return f"{found[1]}.{found[2]}" if found else ""


def newest(wheel: PackageFile) -> tuple[list[int], str]:
    """Orders the wheels of one release: the newest ordinary CPython's last."""
    return [int(x) for x in python(wheel.filename).split(".") if x], wheel.filename


def glibc(filename: str) -> str:
    """The least that the wheel's tags admit; empty for a pure one. A tag of the years before PEP 600 may promise too much."""
    tags = filename.removesuffix(".whl").rpartition("-")[2].split(".")
    found = [f"2.{minor[1]}" for tag in tags if (minor := re.fullmatch(r"manylinux_2_(\d+)_x86_64", tag))]
    found += [_MANYLINUX[tag] for each in tags if (tag := each.removesuffix("_x86_64")) in _MANYLINUX]
    return min(found, key=numbers, default="")


def requirements(
    said: Message, extras: tuple[str, ...] = (), pythons: tuple[str, ...] = ("3.12",)
) -> Iterator[tuple[str, str]]:
    """Normalised name and specifier of what an installation with ``extras`` on Linux x86_64 requires, under any of ``pythons``.

    torch 2.2 and 2.3 require triton for Python 3.11 and older only.
    """
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    for text in said.get_all("Requires-Dist", []):
        need = Requirement(text)
        places = (
            {**_LINUX, "python_version": python, "python_full_version": f"{python}.0", "extra": extra}
            for python in pythons
            for extra in ("", *extras)
        )
        if need.marker is None or any(need.marker.evaluate(place) for place in places):
            yield canonicalize_name(need.name), str(need.specifier)


def pinned(needs: Mapping[str, str], pattern: str) -> str:
    """The version that ``==`` or ``~=`` names for the first package that matches."""
    for name, specifier in sorted(needs.items()):
        found = re.fullmatch(r"[=~]=\s*([\w.+!-]+)", specifier)
        if re.fullmatch(pattern, name) and found:
            return found[1]
    return ""
