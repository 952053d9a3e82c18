"""What a log says of clocks and processors."""

from __future__ import annotations

from collections.abc import Iterator

from provision.check import ERROR, Finding, check
from provision.checks._log import said
from provision.checks._pasted import MaybeStated
from provision.facts.symptoms import Symptoms


@check("LAT100", ERROR, cause="gpu-throttling")
def log_says_gpu_throttled(symptoms: Symptoms, stated: MaybeStated) -> Iterator[Finding]:
    """A log says that a GPU runs below its clocks.

    Heat and power limits lower the clocks; everything goes on, slower.

    ## Fix
    Cool the card, raise its power limit, lock its clocks.

    ## Proof
    LAT-P1; `provision doctor --select LAT100` reads a new log.
    """
    yield from said(
        symptoms,
        stated,
        "gpu-throttling",
        (
            "nvidia-smi -q -d PERFORMANCE,POWER,TEMPERATURE",
            "nvidia-smi -pl WATTS",
        ),
    )


@check("LAT101", ERROR, cause="numa-or-cpu-governor")
def log_says_processor_placed_badly(symptoms: Symptoms, stated: MaybeStated) -> Iterator[Finding]:
    """A log says that threads or clocks of the processor are in the way.

    Threads on another socket than their memory, several engines on the same cores, and a governor that saves power
    cost speed and steadiness.

    ## Fix
    Pin each engine to one node, and set the governor to performance.

    ## Proof
    LAT-P1; `provision doctor --select LAT101` reads a new log.
    """
    yield from said(
        symptoms,
        stated,
        "numa-or-cpu-governor",
        (
            "cpupower frequency-set -g performance",
            "numactl --cpunodebind=N --membind=N PROGRAM; nvidia-smi topo -m",
        ),
    )
