"""Kernels on disk, the NVIDIA module that each of them has, and whether the firmware lets it in."""

from __future__ import annotations

import posixpath
import re

from provision.fact import Absent, fact, probe
from provision.facts.pci import NvidiaCards
from provision.facts.reading import text
from provision.facts.system import System
from provision.host import Host, or_none
from provision.record import record


@record
class InstalledKernel:
    release: str  # "6.1.0-28-amd64"
    bootable: bool  # its image is in /boot, or beside its modules as Fedora keeps it
    headers: bool  # /lib/modules/RELEASE/build leads somewhere: modules can be built for it
    nvidia: str | None  # path of its NVIDIA module below /lib/modules/RELEASE; None: it has none


@fact
class Kernels:
    running: str
    installed: tuple[InstalledKernel, ...]  # sorted by release; the running one may be missing (removed since)


@record
class DkmsModule:
    name: str  # "nvidia", on Debian "nvidia-current"
    version: str
    kernels: tuple[str, ...]  # releases it is built for, sorted


@fact
class DkmsModules:
    modules: tuple[DkmsModule, ...]  # sorted by name and version; may be empty


@fact
class SecureBoot:
    enabled: bool  # what the firmware says
    enforced: bool | None  # whether this kernel refuses unsigned modules; None: it does not say


@fact
class DriverModule:
    """The NVIDIA module on disk that the running kernel would load. Absent where it has none."""

    path: str
    version: str | None
    signer: str | None  # the name in its signature; None: not signed
    enrolled: bool | None  # the signer's name stands among the machine owner's keys; None: those cannot be read


_MODULE = re.compile(r"^(\S*/nvidia(?:-current\S*?|-tesla\S*?|-open\S*?)?\.ko(?:\.\w+)?):", re.MULTILINE)


@probe
def kernels(host: Host, system: System) -> Kernels:
    """Kernels whose modules are on disk, with headers and NVIDIA module.

    Sources: ``/lib/modules/*/modules.dep`` (an index of every module), ``build`` beside it, ``/boot/vmlinuz-*``.
    """
    found = []
    for folder in host.glob("/lib/modules/*"):
        index = or_none(host.read, f"{folder}/modules.dep")
        if index is None:  # left over from a removed kernel
            continue
        release = posixpath.basename(folder)
        module = _MODULE.search(index)
        found.append(
            InstalledKernel(
                release=release,
                bootable=host.exists(f"/boot/vmlinuz-{release}") or host.exists(f"{folder}/vmlinuz"),
                headers=host.exists(f"{folder}/build/Makefile"),
                nvidia=module[1] if module else None,
            )
        )
    if not found:
        raise Absent("no kernel's modules are on disk (a container, or a kernel without modules)")
    return Kernels(running=system.kernel, installed=tuple(found))


@probe
def dkms_modules(host: Host) -> DkmsModules:
    """What DKMS is to build anew for every kernel, and for which it has.

    Source: ``/var/lib/dkms/NAME/VERSION/KERNEL/ARCHITECTURE/module``.
    """
    if not host.exists("/var/lib/dkms"):
        raise Absent("DKMS is not used here")
    built: dict[tuple[str, str], set[str]] = {}
    for path in host.glob("/var/lib/dkms/*/*/source"):
        name, version = path.split("/")[4:6]
        built[name, version] = set()
    for path in host.glob("/var/lib/dkms/*/*/*/*/module"):
        name, version, kernel = path.split("/")[4:7]
        built.setdefault((name, version), set()).add(kernel)
    return DkmsModules(
        modules=tuple(
            DkmsModule(name=name, version=version, kernels=tuple(sorted(kernels)))
            for (name, version), kernels in sorted(built.items())
        )
    )


_EFI = "/sys/firmware/efi/efivars"
_GLOBAL, _SHIM = "8be4df61-93ca-11d2-aa0d-00e098032b8c", "605dab50-e046-4300-abb6-3dd810dd8b23"


@probe
def secure_boot(host: Host) -> SecureBoot:
    """Whether the firmware checks what starts, and the kernel what it loads.

    Sources: the EFI variable ``SecureBoot`` (four bytes of attributes, then 0 or 1; UEFI specification, 3.3),
    ``/sys/module/module/parameters/sig_enforce``, ``/sys/kernel/security/lockdown``.
    """
    said = or_none(host.read, f"{_EFI}/SecureBoot-{_GLOBAL}")
    if said is None:
        raise Absent("this machine did not start through EFI, or its variables are not shown here")
    enforce, lockdown = (
        text(host, "/sys/module/module/parameters/sig_enforce"),
        text(host, "/sys/kernel/security/lockdown"),
    )
    enforced = None
    if enforce is not None or lockdown is not None:
        enforced = enforce == "Y" or re.search(r"\[(integrity|confidentiality)\]", lockdown or "") is not None
    return SecureBoot(enabled=said[-1:] == "\x01", enforced=enforced)


@probe
def driver_module(host: Host, kernels: Kernels, cards: NvidiaCards) -> DriverModule:  # noqa: ARG001 (asked only where a card is)
    """The NVIDIA module's file for the running kernel: version and signature.

    Sources: ``modinfo`` on the file that ``modules.dep`` names; the machine owner's keys in the EFI variable MokListRT.
    """
    own = next((k.nvidia for k in kernels.installed if k.release == kernels.running), None)
    if own is None:
        raise Absent(f"no NVIDIA module is on disk for the running kernel {kernels.running}")
    path = own if own.startswith("/") else f"/lib/modules/{kernels.running}/{own}"
    said = dict(re.findall(r"^(\w+):[ \t]*(.*)$", host.run("modinfo", path), re.MULTILINE))
    signer = said.get("signer") or None
    keys = text(host, f"{_EFI}/MokListRT-{_SHIM}")
    return DriverModule(
        path=path,
        version=said.get("version") or None,
        signer=signer,
        enrolled=None if keys is None or signer is None else signer in keys,
    )
