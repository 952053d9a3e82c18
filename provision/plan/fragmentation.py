"""How torch's allocator is set, and how much memory may stay behind after a load."""

from __future__ import annotations

from provision.plan.promise import Promise, figures
from provision.record import record


@record
class Fragmentation:
    """``allocator_conf`` for ``PYTORCH_ALLOC_CONF`` (torch 2.9 and newer); ``growth_bytes`` after warm-up."""

    allocator_conf: str
    growth_bytes: int

    @classmethod
    def desire(cls) -> Fragmentation:
        """Expandable segments: since torch 2.1 the first thing to try against fragmentation, and harmless without a GPU."""
        return cls(allocator_conf="expandable_segments:True", growth_bytes=figures()["fragmentation"]["growth_bytes"])

    def promises(self) -> tuple[Promise, ...]:
        """Memory comes back after a model is dropped."""
        return (Promise(code="FRG-P1", promised={"growth_bytes": self.growth_bytes}),)
