"""The NVIDIA driver: not there, not the right one, or not answering."""

from __future__ import annotations

from collections.abc import Iterator

from provision.catalog.version import older
from provision.check import ERROR, Finding, NotApplicable, check
from provision.checks._gpus import ANSWERS, driver_here, not_loaded_yet, to_come
from provision.checks._pasted import MaybeStated
from provision.checks._words import counted, listed
from provision.fact import Absent, Missing
from provision.facts.driver import DriverLibraries, Nouveau, NvidiaDriver
from provision.facts.gpus import Gpus
from provision.facts.pci import NvidiaCards
from provision.plan import Cuda
from provision.spec import Spec

_INSTALL = ("apt-cache policy nvidia-driver   # Debian: section non-free", "provision explain CUD001")
_DIFFERENT = "different versions"  # what provision.facts.nvml_child says for NVML's code 18


@check("CUD001", ERROR, cause="driver-not-loaded")
def card_without_driver(cards: NvidiaCards, driver: NvidiaDriver | Absent, spec: Spec) -> Iterator[Finding]:
    """An NVIDIA card is on the PCI bus and no driver has it.

    Without its kernel module a card does nothing: torch sees no GPU and runs on the CPU without a word, ten to a hundred
    times slower. The usual reasons: the driver was never installed; its module was not built for the running kernel
    (DKMS without kernel headers); Secure Boot refused an unsigned module; or it was installed and not loaded yet.

    ## Fix
    Install the driver of the distribution or of the vendor's repository, with the headers of the running kernel, then
    reboot. `modprobe nvidia` tells why a module that is there does not load: "Key was rejected by service" is Secure Boot.
    If the card is not meant for this machine, write `accelerator = "cpu"` into provision.toml.

    ## Proof
    CUD-P2: every parameter of the model is on the GPU.
    """
    if spec.accelerator == "cpu":
        raise NotApplicable("provision.toml asks for the CPU")
    idle = [card for card in cards.cards if card.kernel_driver is None]
    if not idle:
        return
    names = listed(f"{card.address} (10de:{card.device_id})" for card in idle)
    if isinstance(driver, Absent):
        yield Finding(
            f"{counted(len(idle), 'NVIDIA card')} on the PCI bus, {names}, and no NVIDIA driver is loaded",
            measured={"cards": [card.address for card in idle], "driver": None},
            needed={"driver": "nvidia"},
            fix=("modprobe nvidia", *_INSTALL),
        )
    else:
        yield Finding(
            f"the NVIDIA driver {driver.version} is loaded and did not take {names}",
            measured={"cards": [card.address for card in idle], "driver": driver.version},
            needed={"driver": "nvidia"},
            fix=("dmesg | grep -i nvrm   # says why; a card too new or too old for the driver, or power", *_INSTALL),
        )


@check("CUD002", ERROR, cause="nouveau-loaded")
def nouveau_holds_the_card(nouveau: Nouveau) -> Iterator[Finding]:
    """nouveau, the kernel's own driver, holds the NVIDIA card.

    nouveau knows no CUDA, and while it has the card the NVIDIA driver cannot take it.

    ## Fix
    Forbid it, rebuild the initial RAM disk, install the NVIDIA driver, and reboot.

    ## Proof
    CUD-P2: every parameter of the model is on the GPU.
    """
    if nouveau.cards:
        again = "; it is forbidden already, so a reboot is what lacks" if nouveau.blacklisted_in else ""
        forbid = (
            "printf 'blacklist nouveau\\noptions nouveau modeset=0\\n' > /etc/modprobe.d/blacklist-nouveau.conf",
            "update-initramfs -u",
        )
        yield Finding(
            f"nouveau holds {listed(nouveau.cards)}{again}",
            measured={"cards": list(nouveau.cards), "blacklisted_in": list(nouveau.blacklisted_in)},
            needed={"driver": "nvidia"},
            fix=(*(() if nouveau.blacklisted_in else forbid), "reboot"),
        )


@check("CUD003", ERROR, cause="nvml-driver-library-mismatch")
def driver_and_library_differ(
    driver: NvidiaDriver, libraries: DriverLibraries | Absent | Missing, gpus: Gpus | Absent | Missing
) -> Iterator[Finding]:
    """The NVIDIA driver's library and its loaded kernel module are of different versions.

    The library and the module of one release work only with each other. After a package upgrade the new library meets
    the old module, which stays in the kernel until it is unloaded: everything that runs goes on, and everything that
    starts fails with "Driver/library version mismatch" or CUDA error 803. In a container the same shows when stale
    library copies are mounted. The file names tell it without asking the driver, also before anything breaks.

    ## Fix
    Reboot. Or stop everything that uses the GPUs and load the module anew.

    ## Proof
    CUD-P2: every parameter of the model is on the GPU.
    """
    known = libraries.version if isinstance(libraries, DriverLibraries) else None
    said = isinstance(gpus, Missing) and _DIFFERENT in gpus.reason
    if known is None and not said:
        if isinstance(gpus, Gpus):
            return  # the library answered, which it does only for its own module
        raise Missing(
            "the library's file name has no version" if isinstance(libraries, DriverLibraries) else libraries.reason
        )
    if said or known != driver.version:
        yield Finding(
            f"the loaded kernel module is {driver.version}, "
            + (
                f"the library {known}"
                if known not in (None, driver.version)
                else "and its library is of another version"
            ),
            measured={"module": driver.version, "library": known},
            needed={"library": driver.version},
            fix=(
                "reboot",
                "or: stop all GPU programs, then rmmod nvidia_uvm nvidia_drm nvidia_modeset nvidia && modprobe nvidia",
            ),
        )


@check("CUD004", ERROR, cause="nvml-unanswered")
def driver_does_not_answer(driver: NvidiaDriver, gpus: Gpus | Absent | Missing) -> Iterator[Finding]:
    """The NVIDIA driver is loaded and its management library gives no answer.

    nvidia-smi, torch and every engine ask the same library. One that never answers usually means a sick GPU (the kernel
    log has its Xid) or a firmware that hangs; one that is not there means the driver's user-space half is missing, as
    in a container that was started without its GPU.

    ## Fix
    Read the reason. No answer in time: look for Xid messages and reset or reboot. Library not installed: install the
    package of the same version as the module, or start the container with its GPU.

    ## Proof
    CUD-P2: every parameter of the model is on the GPU.
    """
    if not isinstance(gpus, Gpus):
        yield Finding(
            f"the NVIDIA driver {driver.version} is loaded, but NVML gave no answer: {gpus.reason}",
            measured={"driver": driver.version, "reason": gpus.reason},
            needed={"answer": True},
            fix=("dmesg | grep -i -e xid -e nvrm", "timeout 10 nvidia-smi"),
        )


@check("CUD005", ERROR, cause="driver-too-old-for-cuda")
def driver_too_old_for_plan(
    driver: NvidiaDriver | Absent | Missing,
    plan: Cuda,
    libraries: DriverLibraries | Absent | Missing,
    gpus: Gpus | Absent | Missing,
) -> Iterator[Finding]:
    """The NVIDIA driver is older than the planned CUDA needs.

    Each CUDA major has an oldest driver below which no program starts ("The NVIDIA driver on your system is too old",
    CUDA error 35). Inside one major an older driver is no error: the same major's programs run on every driver from
    that floor up, whatever nvidia-smi's header says. Never does a version mismatch show as "out of memory". Where
    the driver runs no lock for these cards, the plan is for the CPU until a newer one is there. Where no kernel module is
    visible (WSL2), the version that NVML answers counts, or that of the library.

    ## Fix
    Install a newer driver, or plan for the older CUDA. On data-centre cards the cuda-compat package is a third way. On
    WSL2 the driver is Windows's: a Linux one installed beside it hides it.

    ## Proof
    CUD-P4: a matrix product and a convolution on the GPU agree with the CPU.
    """
    if plan.minimum_driver is None:
        raise NotApplicable("the plan runs on the CPU")
    which, have, version = driver_here(driver, libraries, gpus)
    if older(version, plan.minimum_driver):
        here = "apt-cache policy nvidia-driver"
        yield Finding(
            f"the {which} is {have}; {plan.wanted or plan.accelerator} needs {plan.minimum_driver} or newer",
            measured={"driver": have},
            needed={"driver": plan.minimum_driver},
            fix=(
                "install a newer driver on the host   # on WSL2: in Windows" if which == ANSWERS else here,
                *plan.way_out,
                'or write accelerator = "cpu" into provision.toml',
            ),
        )
    elif isinstance(driver, NvidiaDriver) and older(driver.version, plan.minimum_driver):
        raise not_loaded_yet(driver, version)


@check("CUD006", ERROR, cause="driver-older-than-expected")
def driver_older_than_expected(
    driver: NvidiaDriver | Absent,
    spec: Spec,
    libraries: DriverLibraries | Absent | Missing,
    stated: MaybeStated,  # noqa: ARG001  a pasted text names the loaded module, and that is judged
) -> Iterator[Finding]:
    """The NVIDIA driver is older than provision.toml expects.

    `[expect] driver` states what the machines of a fleet must have. One that was left out of an upgrade behaves
    differently from its neighbours, and nothing on it looks wrong.

    ## Fix
    Install the driver that provision.toml names, or correct provision.toml.

    ## Proof
    None of its own: it is a statement about the machine. `provision doctor --select CUD006` compares again.
    """
    if spec.expect.driver is None:
        raise NotApplicable("provision.toml expects no particular driver")
    have = None if isinstance(driver, Absent) else driver.version
    if isinstance(driver, Absent) or older(to_come(driver, libraries), spec.expect.driver):
        yield Finding(
            f"provision.toml expects driver {spec.expect.driver} or newer; "
            + ("none is loaded" if have is None else f"{have} is loaded"),
            measured={"driver": have},
            needed={"driver": spec.expect.driver},
            fix=("apt-cache policy nvidia-driver",),
        )
    elif older(driver.version, spec.expect.driver):
        raise not_loaded_yet(driver, to_come(driver, libraries))


@check("CUD007", ERROR, cause="expected-gpus-missing")
def expected_gpus_missing(
    gpus: Gpus | Absent | Missing, cards: NvidiaCards | Absent | Missing, spec: Spec
) -> Iterator[Finding]:
    """Fewer GPUs are there than provision.toml expects.

    A card that fell off the bus leaves a machine that looks healthy: seven cards out of eight, and no error. An engine
    with tensor parallelism over eight then fails at its start, or serves from the CPU.

    ## Fix
    Compare the PCI bus with the driver: a card on the bus that the driver lacks is a driver matter, one that is not on the
    bus is hardware (power, seating, riser), and a reboot may bring it back once.

    ## Proof
    None of its own: it is a statement about the machine. `provision doctor --select CUD007` counts again.
    """
    if spec.expect.gpus is None:
        raise NotApplicable("provision.toml expects no particular number of GPUs")
    if isinstance(gpus, Missing) and not (
        isinstance(cards, (NvidiaCards, Absent)) and _cards(cards) < spec.expect.gpus
    ):
        raise gpus
    usable = len(gpus.gpus) if isinstance(gpus, Gpus) else 0
    on_bus = None if isinstance(cards, Missing) else _cards(cards)
    if usable < spec.expect.gpus:
        yield Finding(
            f"provision.toml expects {counted(spec.expect.gpus, 'GPU')}; {usable} answer"
            + ("" if on_bus is None else f", {on_bus} are on the PCI bus"),
            measured={"gpus": usable, "on_bus": on_bus},
            needed={"gpus": spec.expect.gpus},
            fix=("lspci -d 10de:", "dmesg | grep -i -e xid -e 'fallen off'"),
        )


def _cards(cards: NvidiaCards | Absent) -> int:
    return 0 if isinstance(cards, Absent) else len(cards.cards)


@check("CUD008", ERROR, cause="gpu-lost")
def gpu_lost(gpus: Gpus) -> Iterator[Finding]:
    """The driver counts a GPU that no longer answers.

    A lost GPU keeps its number: programs that ask for "all GPUs" fail on it, and others hang. The driver gives its
    reason; most often the card fell off the PCIe bus (Xid 79) or asks for a reset.

    ## Fix
    Drain the machine, reset the GPU, or power the machine off and on. If it comes back, it is hardware.

    ## Proof
    CUD-P2: every parameter of the model is on the GPU.
    """
    for lost in gpus.lost:
        yield Finding(
            f"GPU {lost.index} does not answer: {lost.reason}",
            measured={"index": lost.index},
            needed={"answers": True},
            fix=(f"nvidia-smi --gpu-reset -i {lost.index}", "dmesg | grep -i xid"),
        )
