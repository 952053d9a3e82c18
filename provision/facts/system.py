"""The operating system: release, kernel, C library, service manager, and what the machine itself runs inside."""

from __future__ import annotations

import re
from typing import Literal, cast

from provision.fact import Missing, NotKnown, fact, probe
from provision.host import Host, or_none

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


@probe
def system(host: Host) -> System:
    """The operating system as /etc/os-release names it, the running kernel, and what the machine runs inside.

    Sources: ``/etc/os-release``, ``/proc/sys/kernel``, ``getconf``, the marks that container engines leave, the
    firmware's strings in ``/sys/class/dmi/id``.
    """
    release = _os_release(host)
    kernel = host.read("/proc/sys/kernel/osrelease").strip()
    return System(
        os_id=release.get("ID", "linux"),
        os_version=release.get("VERSION_ID"),
        os_codename=release.get("VERSION_CODENAME"),
        os_name=release.get("PRETTY_NAME", release.get("NAME", "Linux")),
        kernel=kernel,
        architecture=host.run("uname", "-m").strip(),
        hostname=host.read("/proc/sys/kernel/hostname").strip(),
        init=_init(host),
        container=_container(host),
        virtualization=_virtualization(host, kernel),
        glibc=_glibc(host),
    )


def _os_release(host: Host) -> dict[str, str]:
    text = or_none(host.read, "/etc/os-release")
    if text is None:
        text = host.read("/usr/lib/os-release")
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {key.strip(): value.strip().strip("\"'") for key, _, value in pairs}


def _init(host: Host) -> Init:
    if host.exists("/run/systemd/system"):  # the test that systemd documents: sd_booted(3)
        return "systemd"
    first = (or_none(host.read, "/proc/1/comm") or "").strip()
    return "sysvinit" if first == "init" and host.exists("/etc/inittab") else "none"


_CONTAINER_NAMES: dict[str, Container] = {
    "docker": "docker",
    "podman": "podman",
    "lxc": "lxc",
    "systemd-nspawn": "nspawn",
}


# Inode numbers of the first namespaces (include/linux/proc_ns.h): the machine's own, outside every container.
_MACHINE = (("uts", "uts:[4026531838]"), ("pid", "pid:[4026531836]"), ("ipc", "ipc:[4026531839]"))


def _container(host: Host) -> Container:
    """Which engine's container this is. Marks alone do not count: a VM made from a container image keeps /.dockerenv."""
    if all(or_none(host.link, f"/proc/self/ns/{name}") == first for name, first in _MACHINE):
        return "none"
    if host.exists("/var/run/secrets/kubernetes.io"):
        return "kubernetes"
    if host.exists("/run/.containerenv"):
        return "podman"
    if host.exists("/.dockerenv"):
        return "docker"
    declared = or_none(host.read, "/run/systemd/container")
    if declared is not None:
        return _CONTAINER_NAMES.get(declared.strip(), "other")
    groups = or_none(host.read, "/proc/1/cgroup", reasons=NotKnown) or ""
    for mark, name in (("/kubepods", "kubernetes"), ("/docker/", "docker"), ("/libpod-", "podman"), ("/lxc/", "lxc")):
        if mark in groups:
            return cast(Container, name)
    processes = or_none(
        host.link, "/proc/self/ns/pid"
    )  # a sandboxed service has its own host name, not its own processes
    return "none" if processes in (None, dict(_MACHINE)["pid"]) else "other"


_FIRMWARE: tuple[tuple[str, Virtualization], ...] = (  # what stands in sys_vendor or product_name of a virtual machine
    ("VMware", "vmware"),
    ("innotek GmbH", "virtualbox"),
    ("VirtualBox", "virtualbox"),
    ("Microsoft Corporation Virtual Machine", "hyperv"),
    ("Xen", "xen"),
    ("QEMU", "kvm"),
    ("KVM", "kvm"),
    ("OpenStack", "kvm"),
    ("Google Compute Engine", "kvm"),
    ("Amazon EC2", "kvm"),
)


def _virtualization(host: Host, kernel: str) -> Virtualization:
    if "microsoft" in kernel.lower():
        return "wsl"
    names = [
        or_none(host.read, f"/sys/class/dmi/id/{name}", reasons=NotKnown) for name in ("sys_vendor", "product_name")
    ]
    firmware = " ".join(name.strip() for name in names if name)
    cpu = host.read("/proc/cpuinfo")
    guest = re.search(r"^flags\s*:.*\bhypervisor\b", cpu, re.MULTILINE) is not None
    arm = not re.search(r"^flags\s*:", cpu, re.MULTILINE)  # Arm's cpuinfo does not tell a guest from a host
    if guest or arm:  # Amazon's bare metal carries the same firmware strings as its guests
        for mark, name in _FIRMWARE:
            if mark in firmware and not (arm and mark == "Amazon EC2"):
                return name
    return "other" if guest else "none"


def _glibc(host: Host) -> str | None:
    if host.glob("/lib/ld-musl-*"):
        return None
    found = re.search(r"glibc (\d+\.\d+)", host.run("getconf", "GNU_LIBC_VERSION"))
    if found is None:
        raise Missing("getconf GNU_LIBC_VERSION gave no version")
    return found[1]
