"""What the kernel log says about a driver that could not start a GPU."""

from __future__ import annotations

from collections.abc import Iterator

from provision.check import ERROR, WARNING, Finding, NotApplicable, check
from provision.checks._gpus import events, told
from provision.checks._words import counted
from provision.fact import Absent, Missing
from provision.facts.driver import DriverLibraries, NvidiaDriver
from provision.facts.gpus import Gpus
from provision.facts.kernel_events import KernelEvent
from provision.facts.log import KernelLog
from provision.facts.pci import NvidiaCards

_READ = "dmesg | grep -e NVRM -e nvidia"


def _alive(gpus: Gpus | Absent | Missing) -> set[str]:
    """Addresses of the GPUs that answer now."""
    return {gpu.pci_address.split(".")[0] for gpu in gpus.gpus} if isinstance(gpus, Gpus) else set()


def _of_others(log: KernelLog, kind: str, alive: set[str]) -> list[KernelEvent]:
    """Events of this kind, without those of GPUs that answer now: what the log says of them is over."""
    return [event for event in events(log, kind) if (event.device or "").split(".")[0] not in alive]


@check("CUD036", ERROR, cause="gpu-init-failed")
def gpu_initialisation_failed(log: KernelLog, gpus: Gpus | Absent | Missing) -> Iterator[Finding]:
    """The driver could not start a GPU.

    The card is on the bus, the driver is loaded, and starting the one with the other failed ("RmInitAdapter failed"):
    nvidia-smi says "No devices were found". Reasons: firmware files of another version, a card in a bad state after a
    crash or a virtual machine, missing power, the firmware's settings for large memory windows.

    ## Fix
    Read the lines before it. A full power-off helps a card in a bad state; a driver installed anew helps wrong firmware.

    ## Proof
    CUD-P2: every parameter of the model is on the GPU.
    """
    for event in _of_others(log, "gpu-init-failed", _alive(gpus)):
        yield Finding(
            f"the driver failed to start {event.device or 'a GPU'} {counted(event.times, 'time')}: {event.text}",
            measured=told(event),
            needed={"times": 0},
            fix=(_READ,),
        )


@check("CUD037", ERROR, cause="secure-boot-refuses-module")
def kernel_refuses_modules(log: KernelLog, cards: NvidiaCards, driver: NvidiaDriver | Absent) -> Iterator[Finding]:
    """The kernel refused to load a module without a signature it trusts, and the NVIDIA driver is not loaded.

    With Secure Boot the kernel takes only modules signed with a key that the firmware knows. A driver built on this
    machine (DKMS) has its own key, which must be enrolled once.

    ## Fix
    Enrol the key and reboot, use the distribution's signed modules, or switch Secure Boot off.

    ## Proof
    CUD-P2: every parameter of the model is on the GPU.
    """
    if isinstance(driver, NvidiaDriver):
        raise NotApplicable(f"the NVIDIA driver {driver.version} is loaded")
    for event in events(log, "module-refused"):
        yield Finding(
            f"{counted(len(cards.cards), 'NVIDIA card')} without a driver, and the kernel says: {event.text}",
            measured=told(event),
            needed={"times": 0},
            fix=("mokutil --sb-state", "mokutil --import /var/lib/dkms/mok.pub   # then reboot and confirm"),
        )


@check("CUD038", ERROR, cause="gpu-driver-unsuitable")
def gpu_not_supported_by_driver(log: KernelLog, gpus: Gpus | Absent | Missing) -> Iterator[Finding]:
    """The installed driver does not support the card.

    Too old a card: the last driver for it is a legacy branch. Too old a driver: it came out before the card. Or the open
    kernel modules with a card from before Turing, which has no GSP for them.

    ## Fix
    Install the driver that the message names, or the other kind of kernel module.

    ## Proof
    CUD-P2: every parameter of the model is on the GPU.
    """
    for event in _of_others(log, "gpu-not-supported", _alive(gpus)):
        yield Finding(
            f"the driver refuses {event.device}: {event.text}",
            measured=told(event),
            needed={"times": 0},
            fix=("apt-cache search --names-only '^nvidia-.*driver'", _READ),
        )


@check("CUD039", ERROR, cause="gpu-driver-unsuitable")
def open_kernel_modules_needed(log: KernelLog, driver: NvidiaDriver) -> Iterator[Finding]:
    """The card works only with NVIDIA's open kernel modules, and the proprietary ones are installed.

    Blackwell cards and Grace Hopper have no other driver than the open modules. nvidia-smi says "No devices were found".

    ## Fix
    Install the open modules of the same version in place of the proprietary ones, and reboot.

    ## Proof
    CUD-P2: every parameter of the model is on the GPU.
    """
    if driver.flavour == "open":
        raise NotApplicable("the open kernel modules are loaded")
    for event in events(log, "gpu-needs-open-modules"):
        yield Finding(
            f"{event.device} requires NVIDIA's open kernel modules; the proprietary ones of {driver.version} are loaded",
            measured={**told(event), "flavour": driver.flavour},
            needed={"flavour": "open"},
            fix=("apt-get install nvidia-open-kernel-dkms   # Debian; elsewhere: nvidia-open", "reboot"),
        )


@check("CUD040", ERROR, cause="gsp-firmware")
def gpu_firmware_not_started(
    log: KernelLog, gpus: Gpus | Absent | Missing, cards: NvidiaCards | Absent | Missing
) -> Iterator[Finding]:
    """The firmware that the driver loads into the GPU (GSP) did not start.

    The driver brings this firmware in files of exactly its own version under /lib/firmware/nvidia. After half an upgrade
    they are of another one. "WPR2 already up" means that a crash left the card in a state only a power-off clears.

    ## Fix
    Install driver, firmware package and kernel module of one version; then power the machine off and on.

    ## Proof
    CUD-P2: every parameter of the model is on the GPU.
    """
    found = events(log, "gsp-failed")
    there = len(cards.cards) if isinstance(cards, NvidiaCards) else 1
    if isinstance(gpus, Gpus) and len(gpus.gpus) >= there:
        raise NotApplicable("every card on the bus answers")
    for event in found:
        yield Finding(
            f"{event.device or 'the driver'}: {event.text} ({counted(event.times, 'time')})",
            measured=told(event),
            needed={"times": 0},
            fix=(
                "ls /lib/firmware/nvidia; cat /sys/module/nvidia/version",
                "poweroff   # a reboot keeps the card powered",
            ),
        )


@check("CUD041", ERROR, cause="gpu-region-invalid")
def gpu_without_room_on_the_bus(log: KernelLog, gpus: Gpus | Absent | Missing) -> Iterator[Finding]:
    """The machine's firmware gave a GPU no room for its memory window.

    Cards for servers want windows of tens of gigabytes above the 4 GB line. Firmware that does not place them there
    leaves BAR1 empty ("BAR1 is 0M @ 0x0"), and the driver refuses the card.

    ## Fix
    Switch on "Above 4G decoding" (and resizable BAR) in the firmware; in a virtual machine give it a larger PCI hole.
    `pci=realloc` on the kernel's command line helps where the firmware cannot.

    ## Proof
    CUD-P2: every parameter of the model is on the GPU.
    """
    alive = _alive(gpus)
    for event in _of_others(log, "gpu-region-invalid", alive):
        if event.device or not alive:
            yield Finding(
                f"the driver found {event.device or 'a GPU'} without its memory window: {event.text}",
                measured=told(event),
                needed={"times": 0},
                fix=("lspci -vv -d 10de: | grep -e Region -e ignored", "dmesg | grep -i 'BAR 1'"),
            )


@check("CUD045", WARNING, cause="nvml-driver-library-mismatch")
def programs_of_another_driver_version(
    log: KernelLog, driver: NvidiaDriver, libraries: DriverLibraries | Absent | Missing
) -> Iterator[Finding]:
    """Programs with another version of the driver's library than the loaded module have knocked.

    The kernel module turns them away ("API mismatch"). Where this machine's own library fits the module, they came from a
    container with stale copies, or from before the last restart of the module.

    ## Fix
    Start such containers anew with the host's libraries (never install a driver inside an image).

    ## Proof
    CUD-P2: every parameter of the model is on the GPU.
    """
    fits = isinstance(libraries, DriverLibraries) and libraries.version == driver.version
    for event in events(log, "nvrm-api-mismatch"):
        yield Finding(
            f"{counted(event.times, 'time')} since this machine started: {event.text}",
            measured={**told(event), "module": driver.version},
            needed={"times": 0},
            fix=("docker ps --format '{{.Names}} {{.Image}}'", _READ) if fits else ("reboot", _READ),
            certainty="likely" if fits else "certain",
            tell_apart=("cat /proc/driver/nvidia/version",) if fits else (),
        )
