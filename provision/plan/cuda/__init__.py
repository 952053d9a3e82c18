"""Which accelerator the container is built for, and why."""

from __future__ import annotations

from typing import Literal

from provision.catalog.version import numbers
from provision.fact import Missing, Snapshot
from provision.facts.cpu import Cpu
from provision.facts.driver import DriverLibraries, NvidiaDriver
from provision.facts.gpus import Gpus
from provision.facts.pci import NvidiaCards
from provision.facts.system import System
from provision.plan.cuda import accelerator, image, locks
from provision.plan.cuda.accelerator import Choice, Machine
from provision.plan.cuda.image import Image
from provision.plan.cuda.locks import Lock
from provision.plan.promise import Promise
from provision.record import record
from provision.spec import Spec


@record
class Cuda:
    """``accelerator`` names the torch build; ``minimum_driver`` and ``architectures`` (as ``9.0``) are what it asks of a card.

    Where no lock runs on the cards the container is for the CPU, and ``way_out`` says what would change that. ``wanted`` is
    then the build that a driver of ``minimum_driver`` would run; "" where no driver helps.
    """

    accelerator: str
    device: Literal["cpu", "cuda"]
    minimum_driver: str | None
    architectures: tuple[str, ...]
    reasons: tuple[str, ...]
    lock: str = ""
    wanted: str = ""
    way_out: tuple[str, ...] = ()

    @classmethod
    def desire(cls, snapshot: Snapshot, spec: Spec) -> Cuda:
        """A card on the bus asks for a CUDA build, whether or not its driver works today: the plan is what is right.

        Which build follows from the driver's version, the cards' compute capability, the image and the processor
        (``accelerator.choose``). No role installs a driver, so the driver that is here is the one that will be. A lock that
        cannot work is no plan: then the smoke test is for the CPU, and CUD005 or CUD070 is found. Raises ``Missing`` where
        the CPU's lock cannot work either.
        """
        gpu, why = on_gpu(snapshot, spec)
        machine, images = machine_of(snapshot), image.possible(spec.image, snapshot)
        choice = _gpu(machine, images, spec.accelerator) if gpu else Choice(lock=None, reasons=())
        if choice.lock is not None:
            return _cuda(choice.lock, (why, *choice.reasons))
        cpu = accelerator.choose(_smoke(("cpu",), images), machine, images)
        if cpu.lock is None:
            said, ways = (*choice.reasons, *cpu.reasons), (*choice.way_out, *cpu.way_out)
            raise Missing(f"no lock can work here: {'; '.join(said)}. The way out: {'; '.join(ways)}")
        kept = ("no lock runs on the cards here: the container is for the CPU",) if gpu else ()
        return cls(
            accelerator="cpu",
            device="cpu",
            minimum_driver=choice.nearest.minimum_driver if choice.nearest else None,
            architectures=(),
            reasons=(why, *choice.reasons, *kept, *cpu.reasons),
            lock=cpu.lock.name,
            wanted=choice.nearest.accelerator if choice.nearest else "",
            way_out=choice.way_out,
        )

    def promises(self) -> tuple[Promise, ...]:
        """On a GPU also that everything really runs there: falling back to the CPU is not proved."""
        on_gpu = ("CUD-P2", "CUD-P3", "CUD-P4", "CUD-P5") if self.device == "cuda" else ()
        return (
            Promise(code="CUD-P1", promised={"accelerator": self.accelerator}),
            *(Promise(code=code) for code in on_gpu),
        )


def on_gpu(snapshot: Snapshot, spec: Spec) -> tuple[bool, str]:
    """Whether this machine is to use its GPUs, and why. Raises ``Missing`` where it is not known whether there are any."""
    if spec.accelerator != "auto":
        return spec.accelerator != "cpu", f"provision.toml asks for accelerator {spec.accelerator}"
    cards, gpus = snapshot.get(NvidiaCards), snapshot.get(Gpus)
    if isinstance(cards, Missing):
        raise Missing(f"whether there is an NVIDIA card: {cards.reason}")
    if isinstance(cards, NvidiaCards):
        return True, f"{len(cards.cards)} NVIDIA card(s) on the PCI bus"
    if isinstance(gpus, Gpus) and gpus.gpus:
        # WSL2 and some virtual machines: the driver's library answers for a GPU that no PCI bus shows.
        return True, f"NVML answers for {len(gpus.gpus)} GPU(s) that no PCI bus shows"
    return False, cards.reason


def machine_of(snapshot: Snapshot) -> Machine:
    """What the choice of a lock asks of the hardware.

    Of the loaded module and the installed library the newer one counts: after an upgrade the two differ until a reboot, and
    what is right for a machine does not depend on that. In a container with an older library the module is the host's.
    """
    gpus, module, library = snapshot.get(Gpus), snapshot.get(NvidiaDriver), snapshot.get(DriverLibraries)
    system, cpu = snapshot.get(System), snapshot.get(Cpu)
    answering = gpus.gpus if isinstance(gpus, Gpus) else ()
    known = {gpu.compute_capability for gpu in answering if gpu.compute_capability is not None}
    versions = (
        gpus.driver_version if isinstance(gpus, Gpus) else None,
        module.version if isinstance(module, NvidiaDriver) else None,
        library.version if isinstance(library, DriverLibraries) else None,
    )
    return Machine(
        capabilities=tuple(sorted(known, key=numbers)),
        driver=max((version for version in versions if version), key=numbers, default=None),
        architecture=system.architecture if isinstance(system, System) else None,
        flags=cpu.flags if isinstance(cpu, Cpu) else None,
    )


def _gpu(machine: Machine, images: tuple[Image, ...], wanted: str) -> Choice:
    """Where provision.toml names a build that cannot be and another can, that is a way out too."""
    every = tuple(name for name in locks.accelerators() if name != "cpu")
    choice = accelerator.choose(_smoke(every if wanted == "auto" else (wanted,), images), machine, images)
    if choice.lock is not None or wanted == "auto":
        return choice
    other = accelerator.choose(_smoke(every, images), machine, images).lock
    ways = (f'accelerator = "{other.accelerator}" or "auto" in provision.toml',) if other else ()
    return Choice(lock=None, reasons=choice.reasons, way_out=(*ways, *choice.way_out), nearest=choice.nearest)


def _smoke(accelerators: tuple[str, ...], images: tuple[Image, ...]) -> tuple[Lock, ...]:
    """The smoke test's locks for the first image's Python; for all where there are none, so that the choice can say why."""
    found = tuple(lock for lock in locks.known() if lock.purpose == "smoke" and lock.accelerator in accelerators)
    return tuple(lock for lock in found if lock.python == images[0].python) or found if images else found


def _cuda(lock: Lock, reasons: tuple[str, ...]) -> Cuda:
    return Cuda(
        accelerator=lock.accelerator,
        device="cuda",
        minimum_driver=lock.minimum_driver,
        architectures=lock.architectures,
        reasons=(*reasons, f"{lock.accelerator} needs driver {lock.minimum_driver} or newer"),
        lock=lock.name,
    )
