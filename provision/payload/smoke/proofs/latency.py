"""Answers come fast enough."""

from __future__ import annotations

import time

from .. import sums
from ..promise import PRECISIONS
from ..proof import Promise, Verdict, proof
from ..session import ANSWER_TOKENS, Session

BATCH = 64
BATCHES = 4


@proof("LAT-P1", "latency")
def tokens_per_second(session: Session, promised: Promise) -> Verdict:
    """Every precision generates tokens at or above its floor.

    ## What it proves
    Greedy decoding in batches of 64 with the key-value cache, four batches after one to warm up. Generated tokens
    are counted, prompts are not; tokenising is inside the time.

    ## When it fails
    In 8 or 4 bit only: bitsandbytes has no fast kernel for this processor and falls back to a slow one. In all: the
    container has too few CPUs, or other work runs on them.
    """
    pairs = sums.held_out_sums(BATCH * BATCHES)
    measured: dict[str, float] = {}
    failures = []
    for precision in PRECISIONS:
        model = session.loaded(precision).model
        session.decode(model, pairs[:BATCH], batch=BATCH)
        started = time.monotonic()
        rows = session.decode(model, pairs, batch=BATCH)
        measured[precision] = round(len(rows) * ANSWER_TOKENS / (time.monotonic() - started), 1)
        if measured[precision] < promised[precision]:
            failures.append(f"{precision}: {measured[precision]} tokens/s, promised at least {promised[precision]}")
    return Verdict(measured=measured, failures=tuple(failures))
