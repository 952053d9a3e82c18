"""How fast the smoke test must answer."""

from __future__ import annotations

from provision.plan.cuda import Cuda
from provision.plan.promise import Promise, figures
from provision.record import record


@record
class Latency:
    """Floors in generated tokens per second by precision, and the CPU flags without which quantised kernels crawl."""

    tokens_per_second: dict[str, float]
    cpu_flags: tuple[str, ...]

    @classmethod
    def desire(cls, cuda: Cuda) -> Latency:
        """The same floors on a GPU: they catch a machine that is broken, not one that is slow."""
        row = figures()["latency"]
        return cls(
            tokens_per_second=dict(row["tokens_per_second"]),
            cpu_flags=tuple(row["cpu_flags"]) if cuda.device == "cpu" else (),
        )

    def promises(self) -> tuple[Promise, ...]:
        """Tokens per second at or above the floor."""
        return (Promise(code="LAT-P1", promised=dict(self.tokens_per_second)),)
