"""Which accelerator the container is built for, and why."""

from __future__ import annotations

from typing import Literal

from provision.catalog.version import numbers
from provision.fact import Missing, Snapshot
from provision.facts.driver import DriverLibraries, NvidiaDriver
from provision.facts.gpus import Gpus
from provision.facts.pci import NvidiaCards
from provision.plan.cuda import accelerator
from provision.plan.promise import Promise
from provision.record import record
from provision.spec import Spec


@record
class Cuda:
    """``accelerator`` names the torch build; ``minimum_driver`` and ``architectures`` (as ``9.0``) are what it asks of a card."""

    accelerator: str
    device: Literal["cpu", "cuda"]
    minimum_driver: str | None
    architectures: tuple[str, ...]
    reasons: tuple[str, ...]

    @classmethod
    def desire(cls, snapshot: Snapshot, spec: Spec) -> Cuda:
        """A card on the bus asks for a CUDA build, whether or not its driver works today: the plan is what is right.

        Which build follows from the driver's version and the cards' compute capability (``accelerator.choose``).
        """
        cards, gpus = snapshot.get(NvidiaCards), snapshot.get(Gpus)
        if spec.accelerator != "auto":
            return _named(spec.accelerator, (f"provision.toml asks for accelerator {spec.accelerator}",))
        if isinstance(cards, Missing):
            raise Missing(f"whether there is an NVIDIA card: {cards.reason}")
        if isinstance(cards, NvidiaCards):
            reason = f"{len(cards.cards)} NVIDIA card(s) on the PCI bus"
        elif isinstance(gpus, Gpus) and gpus.gpus:
            # WSL2 and some virtual machines: the driver's library answers for a GPU that no PCI bus shows.
            reason = f"NVML answers for {len(gpus.gpus)} GPU(s) that no PCI bus shows"
        else:
            return _named("cpu", (cards.reason,))
        capabilities, driver = _asked_for(snapshot)
        build, reasons = accelerator.choose(capabilities, driver)
        return _named(build.name, (reason, *reasons))

    def promises(self) -> tuple[Promise, ...]:
        """On a GPU also that everything really runs there: falling back to the CPU is not proved."""
        on_gpu = ("CUD-P2", "CUD-P3", "CUD-P4", "CUD-P5") if self.device == "cuda" else ()
        return (
            Promise(code="CUD-P1", promised={"accelerator": self.accelerator}),
            *(Promise(code=code) for code in on_gpu),
        )


def _asked_for(snapshot: Snapshot) -> tuple[tuple[str, ...], str | None]:
    """The compute capabilities of the GPUs that answer, each once and sorted, and the driver's version.

    Of the loaded module and the installed library the newer one: after an upgrade the two differ until a reboot, and what
    is right for a machine does not depend on that. In a container with an older library the module is the host's.
    """
    gpus, module, library = snapshot.get(Gpus), snapshot.get(NvidiaDriver), snapshot.get(DriverLibraries)
    answering = gpus.gpus if isinstance(gpus, Gpus) else ()
    known = {gpu.compute_capability for gpu in answering if gpu.compute_capability is not None}
    versions = (
        gpus.driver_version if isinstance(gpus, Gpus) else None,
        module.version if isinstance(module, NvidiaDriver) else None,
        library.version if isinstance(library, DriverLibraries) else None,
    )
    driver = max((version for version in versions if version is not None), key=numbers, default=None)
    return tuple(sorted(known, key=numbers)), driver


def _named(name: str, reasons: tuple[str, ...]) -> Cuda:
    if name == "cpu":
        return Cuda(accelerator="cpu", device="cpu", minimum_driver=None, architectures=(), reasons=reasons)
    build = next(each for each in accelerator.known() if each.name == name)
    return Cuda(
        accelerator=name,
        device="cuda",
        minimum_driver=build.minimum_driver,
        architectures=build.architectures,
        reasons=(*reasons, f"{name} needs driver {build.minimum_driver} or newer"),
    )
