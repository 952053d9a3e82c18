"""The NVIDIA driver: the kernel module as loaded, its user-space libraries, and nouveau, which excludes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from provision.fact import fact


@fact
class NvidiaDriver:
    """The module in the running kernel; a newer package on disk does not change it before a reload."""

    version: str  # "580.82.07"
    flavour: Literal["open", "proprietary"] | None  # None: /proc/driver/nvidia/version is not readable
    source: str  # the file that said so


@fact
class Nouveau:
    """nouveau, loaded. Absent where it is not."""

    cards: tuple[str, ...]  # PCI addresses it holds; empty: loaded, but no card is bound to it
    blacklisted_in: tuple[str, ...]  # /etc/modprobe.d files that already forbid it: a reboot is what lacks


@dataclass(frozen=True, kw_only=True, slots=True)
class DriverLibrary:
    name: str  # "libnvidia-ml.so.1", "libcuda.so.1"
    path: str  # the file itself, links resolved
    version: str | None  # from the file name: "580.82.07"; None where the name has none


@fact
class DriverLibraries:
    """The driver's user-space libraries by file name, so that a mismatch is seen without NVML."""

    version: str | None  # of the libnvidia-ml.so.1 that the loader takes; None: its name has none
    libraries: tuple[DriverLibrary, ...]  # every copy in the system's library folders, sorted by path
