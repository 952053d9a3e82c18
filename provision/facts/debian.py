"""Debian packages that matter here, and where packages may come from."""

from __future__ import annotations

import re
from collections.abc import Iterator

from provision.fact import Absent, fact, probe
from provision.host import Host, or_none
from provision.record import record


@fact
class DebianPackages:
    """Absent on a system without dpkg."""

    packages: tuple[tuple[str, str], ...]  # (name, version), sorted; installed ones of those looked for
    broken: tuple[str, ...]  # of all: half-installed, half-configured or unpacked; apt refuses to go on with these


@record
class AptSource:
    """One entry. No address: an internal mirror's name is nobody's business."""

    path: str
    suites: tuple[str, ...]
    components: tuple[str, ...]


@fact
class AptSources:
    sources: tuple[AptSource, ...]  # binary packages, enabled; at least one


_NAMES = frozenset(
    """
    ansible apparmor aptitude btrfs-progs build-essential ca-certificates cmake containerd containerd.io cri-o cuda-toolkit
    curl debootstrap dkms docker-buildx-plugin docker-ce docker-ce-cli docker-cli docker-compose-plugin docker.io fio
    g++ gcc git iptables kubelet libcuda1 libnvidia-ml1 lvm2 make mdadm mmdebstrap mokutil nfs-common nftables numactl nvme-cli
    openssh-server pciutils podman python3 python3-apt python3-dev python3-pip python3-venv runc snapd sudo systemd
    systemd-timesyncd tini unattended-upgrades uidmap xfsprogs
    """.split()  # noqa: SIM905 (a list to be read)
)
_FAMILIES = ("cuda-", "datacenter-gpu-manager", "libcudnn", "libnccl", "libnvidia-container", "linux-headers-",
             "linux-image-", "nvidia-", "python3.")  # fmt: skip


@probe
def debian_packages(host: Host) -> DebianPackages:
    """Installed Debian packages that matter here, and every package that was left half-way.

    Source: ``/var/lib/dpkg/status``, read once (``dpkg-query`` would take longer and lock nothing less).
    """
    text = host.read("/var/lib/dpkg/status")
    found, broken = [], []
    for package, status, version in _entries(text):
        if status == "installed":
            if package in _NAMES or package.startswith(_FAMILIES):
                found.append((package, version))
        elif status not in ("config-files", "not-installed", "triggers-awaited", "triggers-pending"):
            broken.append(package)
    return DebianPackages(packages=tuple(sorted(found)), broken=tuple(sorted(broken)))


def _entries(text: str) -> Iterator[tuple[str, str, str]]:
    """(name, state, version) of each entry. Package and Status lead every entry; Version follows before Description."""
    pattern = re.compile(
        r"^Package: (\S+)\nStatus: \S+ \S+ (\S+)\n(?:(?!Version: )[^\n]+\n)*(?:Version: (\S+))?", re.MULTILINE
    )
    for entry in pattern.finditer(text):
        yield entry[1], entry[2], entry[3] or ""


@probe
def apt_sources(host: Host) -> AptSources:
    """Where apt takes binary packages from: suites and components, without the addresses.

    Sources: ``/etc/apt/sources.list``, ``/etc/apt/sources.list.d/*.list`` and ``*.sources``.
    """
    sources: list[AptSource] = []
    for path in ("/etc/apt/sources.list", *host.glob("/etc/apt/sources.list.d/*.list")):
        sources += _one_line_entries(path, or_none(host.read, path) or "")
    for path in host.glob("/etc/apt/sources.list.d/*.sources"):
        sources += _stanzas(path, host.read(path))
    if not sources:
        raise Absent("apt has no package sources")
    return AptSources(sources=tuple(sources))


def _one_line_entries(path: str, text: str) -> Iterator[AptSource]:
    for line in text.splitlines():
        words = re.sub(r"\[[^]]*\]", "", line.split("#", 1)[0]).split()
        if len(words) > 2 and words[0] == "deb":
            yield AptSource(path=path, suites=(words[2],), components=tuple(words[3:]))


def _stanzas(path: str, text: str) -> Iterator[AptSource]:
    for stanza in re.split(r"\n\s*\n", re.sub(r"^#.*\n?", "", text, flags=re.MULTILINE)):
        fields = dict(re.findall(r"^([\w-]+):[ \t]*(.*(?:\n[ \t].*)*)", stanza, re.MULTILINE))
        fields = {name.lower(): value.split() for name, value in fields.items()}
        if "deb" in fields.get("types", ()) and fields.get("enabled", ["yes"]) != ["no"]:
            yield AptSource(
                path=path, suites=tuple(fields.get("suites", ())), components=tuple(fields.get("components", ()))
            )
