"""What will change the driver by itself, where the driver came from, and what waits for a reboot."""

from __future__ import annotations

import re
from typing import Literal

from provision.fact import Absent, fact, probe
from provision.facts.pci import NvidiaCards
from provision.facts.reading import text
from provision.host import Host, or_none


@fact
class AutomaticUpgrades:
    tool: Literal["unattended-upgrades", "dnf-automatic"]
    enabled: bool
    excluded: tuple[str, ...]  # regular expressions (apt) or patterns (dnf) of packages it leaves alone


@fact
class DriverInstallation:
    """Where the NVIDIA driver's user-space files came from; looked at where a card is."""

    runfile: str | None  # the vendor's own uninstaller, which its .run installer leaves; None: not installed that way
    packages: tuple[tuple[str, str], ...]  # (name, version) of installed driver packages, sorted
    held: tuple[str, ...]  # of these, the ones that the package manager is told not to upgrade
    manager: Literal["dpkg", "rpm", "none"]


@fact
class RebootRequired:
    """Absent where nothing waits for a reboot."""

    packages: tuple[str, ...]  # what asked for it, sorted, each once


@fact
class NouveauForbidden:
    """Whether nouveau may load at the next start; looked at where a card is."""

    available: bool  # the running kernel has it as a module
    by: tuple[str, ...]  # modprobe.d files and the word of the kernel's command line that forbid it


@probe
def automatic_upgrades(host: Host) -> AutomaticUpgrades:
    """Whether packages are upgraded without anybody asking, and which are left alone.

    Sources: ``/etc/apt/apt.conf.d`` and ``unattended-upgrade``; ``/etc/dnf/automatic.conf`` and ``/etc/dnf/dnf.conf``.
    """
    if host.exists("/usr/bin/unattended-upgrade"):
        settings = "\n".join(_without_comments(host.read(path)) for path in host.glob("/etc/apt/apt.conf.d/*"))
        switch = re.findall(r'APT::Periodic::Unattended-Upgrade\s+"(\w+)"', settings)
        lists = re.findall(r"Unattended-Upgrade::Package-Blacklist\s*\{([^}]*)\}", settings)
        words = [word for block in lists for word in re.findall(r'"([^"]+)"', block)]
        enabled = bool(switch) and switch[-1] not in ("0", "false")
        return AutomaticUpgrades(tool="unattended-upgrades", enabled=enabled, excluded=tuple(sorted(words)))
    automatic = or_none(host.read, "/etc/dnf/automatic.conf")
    if automatic is None:
        raise Absent("nothing that upgrades packages by itself is installed")
    excludes = re.findall(r"^\s*exclude(?:pkgs)?\s*=\s*(.+)$", text(host, "/etc/dnf/dnf.conf") or "", re.MULTILINE)
    return AutomaticUpgrades(
        tool="dnf-automatic",
        enabled=re.search(r"^\s*apply_updates\s*=\s*(yes|true|1|on)\s*$", automatic, re.M | re.I) is not None,
        excluded=tuple(sorted(word for line in excludes for word in re.split(r"[\s,]+", line.strip()) if word)),
    )


def _without_comments(content: str) -> str:
    return re.sub(r"/\*.*?\*/", "", re.sub(r"^\s*(//|#).*$", "", content, flags=re.MULTILINE), flags=re.DOTALL)


_DPKG = re.compile(
    r"^Package: ((?:lib)?nvidia-\S+|cuda-drivers\S*|xserver-xorg-video-nvidia\S*)\nStatus: (\S+) \S+ installed\n"
    r"(?:(?!Version: )[^\n]+\n)*Version: (\S+)",
    re.MULTILINE,
)
_NOT_DRIVER = re.compile(
    r"(lib)?nvidia-(container|ml-dev|cudnn|cuda-(toolkit|dev|doc)|docker|nsight|egl-)|nvidia-(modprobe|support)"
)
_RPM = ("*nvidia-driver*", "kmod-nvidia*", "akmod-nvidia*", "xorg-x11-drv-nvidia*", "cuda-drivers*", "dkms-nvidia*")


@probe
def driver_installation(host: Host, cards: NvidiaCards) -> DriverInstallation:  # noqa: ARG001 (asked only where a card is)
    """The driver's packages, what holds them back, and the marks of the vendor's own installer.

    Sources: ``/usr/bin/nvidia-uninstall``, ``/var/lib/dpkg/status``; on a system with RPM ``rpm -qa`` with patterns.
    """
    runfile = next((p for p in ("/usr/bin/nvidia-uninstall", "/usr/bin/nvidia-installer") if host.exists(p)), None)
    status = or_none(host.read, "/var/lib/dpkg/status")
    if status is not None:
        rows = [(n, want, v) for n, want, v in _DPKG.findall(status) if not _NOT_DRIVER.match(n)]
        return DriverInstallation(
            runfile=runfile,
            packages=tuple(sorted((name, version) for name, _, version in rows)),
            held=tuple(sorted(name for name, want, _ in rows if want == "hold")),
            manager="dpkg",
        )
    if not any(host.exists(folder) for folder in ("/var/lib/rpm", "/usr/lib/sysimage/rpm")):
        return DriverInstallation(runfile=runfile, packages=(), held=(), manager="none")
    said = host.run("rpm", "-qa", "--qf", r"%{NAME} %{VERSION}\n", *_RPM)
    pairs = sorted(tuple(line.split(" ", 1)) for line in said.splitlines() if " " in line)
    locked = text(host, "/etc/dnf/plugins/versionlock.list") or ""
    held = tuple(name for name, _ in pairs if name in locked)
    return DriverInstallation(runfile=runfile, packages=tuple((n, v) for n, v in pairs), held=held, manager="rpm")


@probe
def reboot_required(host: Host) -> RebootRequired:
    """Packages whose new version works only after a reboot.

    Sources: ``/run/reboot-required`` and ``/run/reboot-required.pkgs`` (Debian and its family).
    """
    if not host.exists("/run/reboot-required"):
        raise Absent("nothing waits for a reboot")
    return RebootRequired(packages=tuple(sorted(set((text(host, "/run/reboot-required.pkgs") or "").split()))))


@probe
def nouveau_forbidden(host: Host, cards: NvidiaCards) -> NouveauForbidden:  # noqa: ARG001 (asked only where a card is)
    """What keeps nouveau from taking the card at the next start.

    Sources: ``/etc/modprobe.d``, ``/usr/lib/modprobe.d``, ``/run/modprobe.d``, ``/proc/cmdline``, ``/lib/modules``.
    """
    line = re.compile(r"^\s*(blacklist\s+nouveau\b|install\s+nouveau\s+/bin/(false|true)|alias\s+nouveau\s+off)", re.M)
    by = [
        path
        for folder in ("/etc/modprobe.d", "/usr/lib/modprobe.d", "/run/modprobe.d")
        for path in host.glob(f"{folder}/*.conf")
        if line.search(text(host, path) or "")
    ]
    words = [
        w
        for w in host.read("/proc/cmdline").split()
        if re.match(r"(\S+\.)?blacklist=\S*\bnouveau\b|nouveau\.modeset=0", w)
    ]
    kernel = host.read("/proc/sys/kernel/osrelease").strip()
    return NouveauForbidden(
        available=bool(host.glob(f"/lib/modules/{kernel}/kernel/drivers/gpu/drm/nouveau/nouveau.ko*")), by=(*by, *words)
    )
