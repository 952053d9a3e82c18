"""Memory that was given back is there again."""

from __future__ import annotations

import gc

from .. import resident, sums
from ..proof import Promise, Verdict, proof
from ..session import Session

PRECISION = "float32"  # the largest: a model that is not let go shows most
WARM_UP_ROUNDS = 3
ROUNDS = 12


def held_bytes(device: str) -> int:
    """What this process holds: on a GPU what torch has reserved there, otherwise resident memory."""
    gc.collect()
    if device == "cuda":
        import torch

        torch.cuda.empty_cache()
        return int(torch.cuda.memory_reserved())
    return resident.process_bytes()


@proof("FRG-P1", "fragmentation")
def memory_comes_back(session: Session, promised: Promise) -> Verdict:
    """Loading, running and dropping a model again and again does not grow the process.

    ## What it proves
    After three rounds to warm up, twelve rounds of load, decode and drop leave resident memory (on a GPU: what torch
    has reserved) within the promised growth.

    ## When it fails
    Something keeps the models: a list, a cache, a hook. Or the allocator cannot reuse the gaps: on a GPU set
    `PYTORCH_ALLOC_CONF=expandable_segments:True`.
    """
    pairs = sums.held_out_sums(16)
    before = 0
    for number in range(WARM_UP_ROUNDS + ROUNDS):
        if number == WARM_UP_ROUNDS:
            before = held_bytes(session.device)
        session.decode(session.load(PRECISION).model, pairs)
    growth = held_bytes(session.device) - before
    failures = []
    if growth > promised["growth_bytes"]:
        failures.append(f"{growth} bytes more after {ROUNDS} rounds, promised at most {promised['growth_bytes']}")
    return Verdict(measured={"growth_bytes": growth, "rounds": ROUNDS}, failures=tuple(failures))
