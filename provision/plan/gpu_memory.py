"""How much memory the smoke test may take, and what the weights take per precision."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from provision.payload.smoke.promise import promised_weight_bytes
from provision.plan.cuda import Cuda
from provision.plan.promise import Promise, figures
from provision.record import record


def model_folder() -> Path:
    """The bundled model."""
    return Path(__file__).parents[1] / "payload/smoke/model"


@record
class GpuMemory:
    """``weight_bytes`` per precision by arithmetic over the tensors; ``limit_bytes`` is the container's memory limit."""

    device: Literal["cpu", "cuda"]
    weight_bytes: dict[str, int]
    tolerance: float
    limit_bytes: int

    @classmethod
    def desire(cls, cuda: Cuda) -> GpuMemory:
        """The bundled model's needs on the planned device."""
        row = figures()["memory"]
        return cls(
            device=cuda.device,
            weight_bytes=promised_weight_bytes(model_folder()),
            tolerance=row["weights_tolerance"],
            limit_bytes=row["limit_bytes"],
        )

    def promises(self) -> tuple[Promise, ...]:
        """Sums right, really quantised, memory as promised."""
        sums = figures()["sums"]
        return (
            Promise(code="MEM-P1", promised=dict(sums)),
            Promise(code="MEM-P2", promised={"share": figures()["quantised"]["share"]}),
            Promise(code="MEM-P3", promised={**self.weight_bytes, "tolerance": self.tolerance}),
        )
