"""The driver's kernel module before it breaks: signatures, headers, kernels to come, upgrades by themselves."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator

from provision.check import ERROR, NOTE, WARNING, Finding, NotApplicable, check
from provision.checks._words import listed, newest_to_come
from provision.fact import Absent, Missing
from provision.facts.driver import NvidiaDriver
from provision.facts.kernels import DkmsModules, DriverModule, Kernels, SecureBoot
from provision.facts.pci import NvidiaCards
from provision.facts.upgrades import AutomaticUpgrades, DriverInstallation, NouveauForbidden

_DISTRIBUTION_KEYS = ("Canonical", "Debian", "Fedora", "Red Hat", "Rocky", "SUSE", "openSUSE", "Oracle", "AlmaLinux")


@check("CUD050", ERROR, cause="secure-boot-refuses-module")
def driver_module_not_trusted(
    boot: SecureBoot, module: DriverModule, driver: NvidiaDriver | Absent
) -> Iterator[Finding]:
    """Secure Boot is on, and the NVIDIA module is not signed by a key that the machine trusts.

    The kernel refuses it: "Key was rejected by service" or "Required key not available". DKMS and the vendor's installer
    build modules on the machine; they are trusted only after the owner's key was enrolled, at a text screen of the next
    start that is easily missed.

    ## Fix
    Enrol the key that signs what DKMS builds, reboot, and confirm at the blue screen. Or use the distribution's signed
    modules (Ubuntu: linux-modules-nvidia-…). Or switch Secure Boot off in the firmware.

    ## Proof
    CUD-P2: every parameter of the model is on the GPU.
    """
    if not boot.enabled:
        raise NotApplicable("Secure Boot is off")
    if isinstance(driver, NvidiaDriver):
        raise NotApplicable(f"the driver {driver.version} is loaded")
    if boot.enforced is False:
        raise NotApplicable("this kernel does not refuse unsigned modules")
    fix = (
        "mokutil --import /var/lib/dkms/mok.pub   # Ubuntu: /var/lib/shim-signed/mok/MOK.der",
        "reboot   # and confirm",
    )
    if module.signer is None:
        yield Finding(
            f"Secure Boot is on and {module.path} is not signed",
            measured={"secure_boot": True, "signer": None},
            needed={"signer": "a key that the machine trusts"},
            fix=fix,
        )
    elif module.enrolled is False and not module.signer.startswith(_DISTRIBUTION_KEYS):
        yield Finding(
            f'Secure Boot is on and "{module.signer}", which signed {module.path}, is not among the machine owner\'s keys',
            measured={"secure_boot": True, "signer": module.signer},
            needed={"signer": "a key that the machine trusts"},
            fix=fix,
            certainty="likely",
            tell_apart=(
                "modprobe nvidia   # says: Key was rejected by service",
                "mokutil --list-enrolled | grep Subject",
            ),
        )


@check("CUD051", ERROR, cause="driver-module-not-built")
def no_module_for_running_kernel(
    kernels: Kernels,
    dkms: DkmsModules | Absent,
    cards: NvidiaCards,  # noqa: ARG001 (asked only where a card is)
    driver: NvidiaDriver | Absent,
) -> Iterator[Finding]:
    """The NVIDIA driver was built for another kernel than the one that runs.

    A driver's module fits exactly one kernel. After a kernel upgrade it has to be built anew; where that failed (no headers,
    a compiler that is too new, a driver that is too old for the kernel) the machine starts without a driver.

    ## Fix
    Install the running kernel's headers and build it: `dkms autoinstall`; its log says why it failed.

    ## Proof
    CUD-P2: every parameter of the model is on the GPU.
    """
    if isinstance(driver, NvidiaDriver):
        raise NotApplicable(f"the driver {driver.version} is loaded")
    has = {k.release for k in kernels.installed if k.nvidia is not None}
    known = [m for m in dkms.modules if m.name.startswith("nvidia")] if isinstance(dkms, DkmsModules) else []
    if kernels.running in has or not (has or known):
        return
    others = listed(sorted(has | {k for m in known for k in m.kernels}))
    name = f"{known[0].name} {known[0].version}" if known else "the NVIDIA module"
    yield Finding(
        f"{kernels.running} runs and has no NVIDIA module; "
        + (f"{name} was built for {others}" if others else f"{name} was never built"),
        measured={"running": kernels.running, "built_for": sorted(has)},
        needed={"built_for": [kernels.running]},
        fix=(
            f"apt-get install linux-headers-{kernels.running}   # Fedora and its family: kernel-devel-{kernels.running}",
            f"dkms autoinstall -k {kernels.running}",
            "tail -n 50 /var/lib/dkms/nvidia*/*/build/make.log",
        ),
    )


@check("CUD052", WARNING, cause="kernel-headers-missing")
def kernel_headers_missing(kernels: Kernels, dkms: DkmsModules) -> Iterator[Finding]:
    """DKMS is to build the NVIDIA module, and the headers of a kernel that will run are missing.

    The next rebuild (a driver upgrade, or the new kernel's first start) fails, and the driver is gone. The meta package
    of the headers keeps them coming with each kernel; a single package does not.

    ## Fix
    Install the headers' meta package: `linux-headers-amd64` on Debian, `linux-headers-generic` on Ubuntu, `kernel-devel`.

    ## Proof
    None of its own: `provision doctor --select CUD052` looks again.
    """
    if not any(one.name.startswith("nvidia") for one in dkms.modules):
        raise NotApplicable("DKMS does not build the NVIDIA module here")
    wanted = {kernels.running} | {newest_to_come(kernels) or kernels.running}
    lacking = sorted(k.release for k in kernels.installed if k.release in wanted and not k.headers)
    if lacking:
        yield Finding(
            f"the headers of {listed(lacking)} are not installed, so DKMS cannot build the NVIDIA module for it",
            measured={"without_headers": lacking},
            needed={"without_headers": []},
            fix=tuple(f"apt-get install linux-headers-{release}" for release in lacking),
        )


@check("CUD053", WARNING, cause="next-kernel-without-driver")
def next_kernel_without_driver(kernels: Kernels, driver: NvidiaDriver) -> Iterator[Finding]:
    """The kernel that starts at the next reboot has no NVIDIA module.

    Today everything works. After the next reboot, planned or not, the machine has no GPUs.

    ## Fix
    Build the module for that kernel now (`dkms autoinstall -k RELEASE`), or remove the kernel.

    ## Proof
    None of its own: `provision doctor --select CUD053` looks again.
    """
    coming = newest_to_come(kernels)
    if coming is None:
        raise NotApplicable("the newest kernel runs already")
    if next(k.nvidia for k in kernels.installed if k.release == coming) is None:
        yield Finding(
            f"{coming} starts at the next reboot and has no NVIDIA module; driver {driver.version} runs on {kernels.running}",
            measured={"next": coming, "nvidia": None},
            needed={"nvidia": driver.version},
            fix=(f"apt-get install linux-headers-{coming}", f"dkms autoinstall -k {coming}"),
        )


@check("CUD054", WARNING, cause="nvml-driver-library-mismatch")
def driver_upgraded_and_not_loaded(module: DriverModule, driver: NvidiaDriver) -> Iterator[Finding]:
    """The NVIDIA driver on disk is not the one that is loaded.

    The package was upgraded and the old module is still in the kernel. Programs that run go on; whatever starts takes the
    new library against the old module and fails, and the next reload or reboot brings the new driver.

    ## Fix
    Reboot, or stop everything that uses the GPUs and load the module anew.

    ## Proof
    CUD-P2: every parameter of the model is on the GPU.
    """
    if module.version is None:
        raise Missing(f"modinfo names no version of {module.path}")
    if module.version != driver.version:
        yield Finding(
            f"driver {driver.version} is loaded; {module.path} is {module.version}",
            measured={"loaded": driver.version, "on_disk": module.version},
            needed={"loaded": module.version},
            fix=("reboot", "or: rmmod nvidia_uvm nvidia_drm nvidia_modeset nvidia && modprobe nvidia"),
        )


def _left_alone(name: str, upgrades: AutomaticUpgrades) -> bool:
    if upgrades.tool == "dnf-automatic":
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in upgrades.excluded)
    for pattern in upgrades.excluded:
        try:
            if re.match(pattern, name):
                return True
        except re.error:  # apt's own expressions are Python's; what it cannot read excludes nothing
            continue
    return False


@check("CUD055", WARNING, cause="driver-upgraded-unattended")
def driver_upgraded_by_itself(upgrades: AutomaticUpgrades, installed: DriverInstallation) -> Iterator[Finding]:
    """The NVIDIA driver's packages are upgraded by themselves.

    An unattended upgrade replaces the library under a running module, at night: everything that runs goes on and everything
    that starts fails with "Driver/library version mismatch", until the next reboot.

    ## Fix
    Keep the driver out of it: `apt-mark hold`, or its packages in Unattended-Upgrade::Package-Blacklist (dnf: exclude=).

    ## Proof
    None of its own: `provision doctor --select CUD055` reads the settings again.
    """
    if not upgrades.enabled:
        raise NotApplicable(f"{upgrades.tool} is not switched on")
    if not installed.packages:
        raise NotApplicable("no driver package is installed")
    names = [n for n, _ in installed.packages if n not in installed.held and not _left_alone(n, upgrades)]
    if names:
        apt = upgrades.tool == "unattended-upgrades"
        yield Finding(
            f"{upgrades.tool} is on and may upgrade {listed(names[:3])}"
            + (f" and {len(names) - 3} more" if len(names) > 3 else ""),
            measured={"packages": names},
            needed={"packages": []},
            fix=(
                (
                    f"apt-mark hold {' '.join(names)}",
                    "or: nvidia and libnvidia in Unattended-Upgrade::Package-Blacklist",
                )
                if apt
                else ("echo 'exclude=*nvidia*' >> /etc/dnf/dnf.conf",)
            ),
            certainty="likely",
            tell_apart=(
                "unattended-upgrade --dry-run --debug 2>&1 | grep -i nvidia" if apt else "dnf check-update '*nvidia*'",
            ),
        )


def _branches(installed: DriverInstallation) -> dict[str, str]:
    """Driver branch ("580") to one package of it: those whose version is the driver's own."""
    found: dict[str, str] = {}
    for name, version in installed.packages:
        number = re.match(r"(?:\d+:)?(\d{3})\.\d+", version)
        if number and re.search(r"(compute|driver|utils|kernel|dkms|glcore|smi|libs)", name):
            found.setdefault(number[1], name)
    return found


@check("CUD056", WARNING, cause="driver-from-two-sources")
def driver_from_two_sources(installed: DriverInstallation) -> Iterator[Finding]:
    """The NVIDIA driver was installed twice, in different ways.

    The vendor's installer (.run) and the distribution's packages write the same files. The next upgrade of either leaves a
    mixture: library and module of different versions, or a module that the other one removes.

    ## Fix
    Keep one. `nvidia-uninstall` takes the installer's files away; then reinstall the packages.

    ## Proof
    CUD-P2: every parameter of the model is on the GPU.
    """
    if not installed.packages:
        raise NotApplicable("no driver package is installed")
    branches = _branches(installed)
    if installed.runfile and branches:
        yield Finding(
            f"{installed.runfile} was left by the vendor's installer, and {listed(sorted(branches.values()))} is a package",
            measured={"runfile": installed.runfile, "packages": sorted(branches.values())},
            needed={"sources": 1},
            fix=(f"{installed.runfile}", "then install the driver's packages again"),
        )
    if len(branches) > 1:
        parts = listed(f"{name} ({branch})" for branch, name in sorted(branches.items()))
        yield Finding(
            f"packages of driver branches {listed(sorted(branches))} are installed side by side: {parts}",
            measured={"branches": sorted(branches)},
            needed={"branches": 1},
            fix=("dpkg -l '*nvidia*' | grep ^ii   # remove the older branch",),
        )


@check("CUD057", NOTE, cause="nouveau-not-forbidden")
def nouveau_may_load_first(nouveau: NouveauForbidden, module: DriverModule) -> Iterator[Finding]:
    """nouveau is not forbidden, and may take the card at the next start.

    Which of the two drivers comes first is a matter of chance at each start. The driver's packages forbid nouveau by a file
    in modprobe.d; an installation by hand forgets it.

    ## Fix
    Forbid it and rebuild the initial RAM disk.

    ## Proof
    CUD-P2: every parameter of the model is on the GPU.
    """
    if not nouveau.available:
        raise NotApplicable("the running kernel has no nouveau module")
    if not nouveau.by:
        yield Finding(
            f"nothing forbids nouveau, and {module.path} is to drive the card",
            measured={"forbidden_by": []},
            needed={"forbidden_by": ["/etc/modprobe.d/blacklist-nouveau.conf"]},
            fix=(
                "printf 'blacklist nouveau\\noptions nouveau modeset=0\\n' > /etc/modprobe.d/blacklist-nouveau.conf",
                "update-initramfs -u   # Fedora and its family: dracut --force",
            ),
        )
