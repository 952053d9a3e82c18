"""What an environment can load: the wheel tags of one Python on one C library and machine."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from provision.errors import UsageError
from provision.record import record

if TYPE_CHECKING:
    from packaging.tags import Tag

_OLDEST_GLIBC_MINOR = 5  # manylinux1; no older tag exists
_ALIASES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


@record
class Target:
    """The Python, C library and machine that will load the wheels (the image's, where there is one)."""

    python: str  # "3.11"
    glibc: str  # "2.36"
    machine: str  # "x86_64"

    def python_pair(self) -> tuple[int, int]:
        return _pair(self.python, "python")

    def platforms(self) -> tuple[str, ...]:
        """Platform tags that load here, the newest C library first (PEP 600 and its older names)."""
        major, newest = _pair(self.glibc, "glibc")
        if major != 2:
            raise UsageError(f"glibc {self.glibc}: expected 2.x, the only one wheels name")
        found: list[str] = []
        for minor in range(newest, _OLDEST_GLIBC_MINOR - 1, -1):
            found.append(f"manylinux_2_{minor}_{self.machine}")
            if minor in _ALIASES:
                found.append(f"{_ALIASES[minor]}_{self.machine}")
        return (*found, f"linux_{self.machine}")

    def environment(self) -> dict[str, str]:
        """The markers of PEP 508, as ``uv pip compile --python-version`` has them: the first release of that Python."""
        return {
            "implementation_name": "cpython",
            "implementation_version": f"{self.python}.0",
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": f"{self.python}.0",
            "python_version": self.python,
            "sys_platform": "linux",
        }

    def rank(self, filename: str) -> int | None:
        """How good a wheel is here, 0 the best; ``None`` where it does not load or is no wheel."""
        places = _ranks(self)
        return min((places[tag] for tag in _tags(filename) if tag in places), default=None)

    def tags(self) -> tuple[Tag, ...]:
        """Every wheel tag that loads here, the best first."""
        from packaging.tags import compatible_tags, cpython_tags

        version = self.python_pair()
        nodot = f"{version[0]}{version[1]}"
        platforms = self.platforms()
        return (
            *cpython_tags(version, abis=[f"cp{nodot}"], platforms=platforms),
            *compatible_tags(version, interpreter=f"cp{nodot}", platforms=platforms),
        )


@functools.cache
def _ranks(target: Target) -> dict[Tag, int]:
    return {tag: place for place, tag in enumerate(target.tags())}


@functools.cache
def _tags(filename: str) -> frozenset[Tag]:
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    try:
        return parse_wheel_filename(filename)[3]
    except InvalidWheelFilename:
        return frozenset()


def _pair(text: str, what: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    if not (major.isdecimal() and minor.isdecimal()):
        raise UsageError(f"{what} = {text!r}: expected two numbers such as 3.11")
    return int(major), int(minor)
