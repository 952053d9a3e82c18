"""The table of file systems that are mounted at the start."""

from __future__ import annotations

from provision.fact import fact, probe
from provision.host import Host


@fact
class FileSystemTable:
    """``/etc/fstab``. Absent where there is none, as in most containers."""

    path: str
    text: str


@probe
def file_system_table(host: Host) -> FileSystemTable:
    """What is mounted at the start.

    Source: ``/etc/fstab``.
    """
    return FileSystemTable(path="/etc/fstab", text=host.read("/etc/fstab"))
