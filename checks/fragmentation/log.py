"""What a log says of the allocator."""

from __future__ import annotations

from collections.abc import Iterator

from provision.check import ERROR, Finding, check
from provision.checks._log import said
from provision.checks._pasted import MaybeStated
from provision.facts.symptoms import Symptoms


@check("FRG100", ERROR, cause="fragmentation-oom")
def log_says_memory_in_pieces(symptoms: Symptoms, stated: MaybeStated) -> Iterator[Finding]:
    """A log says that GPU memory is free but in pieces.

    torch's allocator keeps freed blocks. Where much is reserved and not allocated, a large request finds no whole
    block.

    ## Fix
    Use expandable segments.

    ## Proof
    FRG-P1; `provision doctor --select FRG100` reads a new log.
    """
    yield from said(symptoms, stated, "fragmentation-oom", ("export PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True",))
