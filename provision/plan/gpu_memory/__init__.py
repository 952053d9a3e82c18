"""How much memory the smoke test may take, what its weights take per precision, and how the planned model is served."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from provision.fact import Snapshot
from provision.payload.smoke.promise import promised_weight_bytes
from provision.plan.cuda import Cuda
from provision.plan.gpu_memory import serving
from provision.plan.gpu_memory.serving import Serving
from provision.plan.promise import Promise, figures
from provision.record import record
from provision.spec import Spec


def model_folder() -> Path:
    """The bundled model."""
    return Path(__file__).parents[2] / "payload/smoke/model"


@record
class GpuMemory:
    """``weight_bytes`` per precision by arithmetic over the tensors; ``limit_bytes`` is the container's memory limit.

    These are the bundled model's. ``serving``: how the model of provision.toml is served; None with ``unserved``, the reason
    ("" where that is the bundled one). ``runs_in``: the precision that the engine must know; "" for the bundled model and
    for one that is not known.
    """

    device: Literal["cpu", "cuda"]
    weight_bytes: dict[str, int]
    tolerance: float
    limit_bytes: int
    serving: Serving | None = None
    unserved: str = ""
    runs_in: str = ""

    @classmethod
    def desire(cls, snapshot: Snapshot, spec: Spec, cuda: Cuda) -> GpuMemory:
        """The bundled model's needs on the planned device, and the split of the planned one over the cards here.

        Raises ``UsageError`` for a model that is not known.
        """
        row = figures()["memory"]
        served = serving.desire(snapshot, spec)
        return cls(
            device=cuda.device,
            weight_bytes=promised_weight_bytes(model_folder()),
            tolerance=row["weights_tolerance"],
            limit_bytes=row["limit_bytes"],
            serving=None if isinstance(served, str) else served,
            unserved=served if isinstance(served, str) else "",
            runs_in=served.runs_in if isinstance(served, Serving) else serving.precision(spec) if served else "",
        )

    def promises(self) -> tuple[Promise, ...]:
        """Sums right, really quantised, memory as promised."""
        sums = figures()["sums"]
        return (
            Promise(code="MEM-P1", promised=dict(sums)),
            Promise(code="MEM-P2", promised={"share": figures()["quantised"]["share"]}),
            Promise(code="MEM-P3", promised={**self.weight_bytes, "tolerance": self.tolerance}),
        )
