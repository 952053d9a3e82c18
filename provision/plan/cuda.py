"""Which accelerator the container is built for, and why."""

from __future__ import annotations

from typing import Literal

from provision import catalog
from provision.fact import Absent, Missing, Snapshot
from provision.facts.gpus import Gpus
from provision.facts.pci import NvidiaCards
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
        """A card on the bus asks for the CUDA build, whether or not its driver works today: the plan is what is right."""
        cards, gpus = snapshot.get(NvidiaCards), snapshot.get(Gpus)
        if spec.accelerator != "auto":
            chosen, reason = spec.accelerator, f"provision.toml asks for accelerator {spec.accelerator}"
        elif isinstance(cards, Missing):
            raise Missing(f"whether there is an NVIDIA card: {cards.reason}")
        elif isinstance(cards, Absent) and isinstance(gpus, Gpus) and gpus.gpus:
            # WSL2 and some virtual machines: the driver's library answers for a GPU that no PCI bus shows.
            chosen = "cu130"
            reason = (
                f"NVML answers for {len(gpus.gpus)} GPU(s) that no PCI bus shows; "
                "torch's default wheels are built for CUDA 13.0"
            )
        elif isinstance(cards, Absent):
            chosen, reason = "cpu", cards.reason
        else:
            chosen = "cu130"
            reason = f"{len(cards.cards)} NVIDIA card(s) on the PCI bus; torch's default wheels are built for CUDA 13.0"
        if chosen == "cpu":
            return cls(accelerator="cpu", device="cpu", minimum_driver=None, architectures=(), reasons=(reason,))
        row = catalog.read("accelerators.toml")[chosen]
        return cls(
            accelerator=chosen,
            device="cuda",
            minimum_driver=row["minimum_driver"],
            architectures=tuple(row["architectures"]),
            reasons=(reason, f"{chosen} needs driver {row['minimum_driver']} or newer"),
        )

    def promises(self) -> tuple[Promise, ...]:
        """On a GPU also that everything really runs there: falling back to the CPU is not proved."""
        on_gpu = ("CUD-P2", "CUD-P3", "CUD-P4", "CUD-P5") if self.device == "cuda" else ()
        return (
            Promise(code="CUD-P1", promised={"accelerator": self.accelerator}),
            *(Promise(code=code) for code in on_gpu),
        )
