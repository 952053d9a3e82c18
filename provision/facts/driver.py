"""The NVIDIA driver: the kernel module as loaded, its user-space libraries, and nouveau, which excludes it."""

from __future__ import annotations

import posixpath
import re
from typing import Literal

from provision.fact import Absent, Missing, fact, probe
from provision.facts import libraries
from provision.host import Host, or_none
from provision.record import record

_PROC = "/proc/driver/nvidia/version"
_SYS = "/sys/module/nvidia/version"


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


@record
class DriverLibrary:
    name: str  # "libnvidia-ml.so.1", "libcuda.so.1"
    path: str  # the file itself, links resolved
    version: str | None  # from the file name: "580.82.07"; None where the name has none


@fact
class DriverLibraries:
    """The driver's user-space libraries by file name, so that a mismatch is seen without NVML."""

    version: str | None  # of the libnvidia-ml.so.1 that the loader takes; None: there is none, or its name says none
    libraries: tuple[DriverLibrary, ...]  # every copy in the system's library folders, sorted by path


@probe
def nvidia_driver(host: Host) -> NvidiaDriver:
    """The NVIDIA kernel module as it is loaded now.

    Sources: ``/proc/driver/nvidia/version`` (version and flavour), else ``/sys/module/nvidia/version``.
    """
    banner = or_none(host.read, _PROC)
    if banner is not None:
        found = re.search(r"NVRM version: .*?Module\s.*?(\d+\.\d+(?:\.\d+)?)", banner)
        if found is None:
            raise Missing(f"{_PROC} names no version")
        flavour: Literal["open", "proprietary"] = "open" if "Open Kernel Module" in found[0] else "proprietary"
        return NvidiaDriver(version=found[1], flavour=flavour, source=_PROC)
    version = or_none(host.read, _SYS)
    if version is None:
        raise Absent("the NVIDIA kernel module is not loaded")
    return NvidiaDriver(version=version.strip(), flavour=None, source=_SYS)


@probe
def nouveau(host: Host) -> Nouveau:
    """nouveau, the free driver that must not hold a card that NVIDIA's driver is to have.

    Sources: ``/sys/module/nouveau``, the driver links in ``/sys/bus/pci/devices``, ``/etc/modprobe.d``.
    """
    if not host.exists("/sys/module/nouveau"):
        raise Absent("nouveau is not loaded")
    links = host.glob("/sys/bus/pci/devices/*/driver")
    return Nouveau(
        cards=tuple(posixpath.basename(posixpath.dirname(p)) for p in links if host.link(p).endswith("/nouveau")),
        blacklisted_in=tuple(
            path
            for path in host.glob("/etc/modprobe.d/*.conf")
            if re.search(r"^\s*(blacklist\s+nouveau\b|install\s+nouveau\s+/bin/(false|true))", host.read(path), re.M)
        ),
    )


@probe
def driver_libraries(host: Host) -> DriverLibraries:
    """The user-space half of the driver, by file name.

    Sources: the loader's cache (``ldconfig -p``) and the system's library folders. The module in the kernel and these
    must be of one version: an upgrade without a reboot parts them.
    """
    found = libraries.system_copies(host, ("libnvidia-ml.so.1", "libcuda.so.1"))
    if not found:
        raise Absent("neither libnvidia-ml.so.1 nor libcuda.so.1 is installed")
    first = next((copy for copy in found if copy.name == "libnvidia-ml.so.1"), None)
    copies = {DriverLibrary(name=copy.name, path=copy.path, version=copy.version) for copy in found}
    return DriverLibraries(
        version=first.version if first else None,
        libraries=tuple(sorted(copies, key=lambda copy: copy.path)),
    )
