"""Room for the image and the wheels, and how long the weights may take to load."""

from __future__ import annotations

from provision.plan.cuda import Cuda
from provision.plan.promise import Promise, figures
from provision.record import record
from provision.spec import Spec


@record
class Storage:
    """``image_room_bytes`` and ``image_inodes``: free room in the engine's data root before a build."""

    state_folder: str
    image_room_bytes: int
    image_inodes: int
    load_seconds: float

    @classmethod
    def desire(cls, spec: Spec, cuda: Cuda) -> Storage:
        """Room by accelerator: a CUDA image is several times a CPU one."""
        row = figures()["storage"]
        room = row["room"][cuda.device]
        return cls(
            state_folder=spec.state_folder,
            image_room_bytes=room["image_room_bytes"],
            image_inodes=room["image_inodes"],
            load_seconds=row["load_seconds"],
        )

    def promises(self) -> tuple[Promise, ...]:
        """Every precision loads in time."""
        return (Promise(code="STO-P1", promised={"seconds": self.load_seconds}),)
