"""The operating system: release, kernel, C library, service manager, and what the machine itself runs inside."""

from __future__ import annotations

from typing import Literal

from provision.fact import fact

Init = Literal["systemd", "sysvinit", "none"]
Container = Literal["none", "docker", "podman", "lxc", "kubernetes", "nspawn", "other"]
Virtualization = Literal["none", "kvm", "vmware", "hyperv", "xen", "virtualbox", "wsl", "other"]


@fact
class System:
    os_id: str  # ID of os-release: "debian"
    os_version: str | None  # VERSION_ID: "12"; None on a rolling release
    os_codename: str | None  # VERSION_CODENAME: "bookworm"
    os_name: str  # PRETTY_NAME
    kernel: str  # as uname -r prints it
    architecture: str  # as uname -m prints it: "x86_64", "aarch64"
    hostname: str
    init: Init  # what starts services here; "none" in most containers
    container: Container
    virtualization: Virtualization
    glibc: str | None  # "2.36"; None where the C library is another one (musl)
