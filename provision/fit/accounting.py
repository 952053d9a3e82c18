"""How an engine of a given version divides a card's memory."""

from __future__ import annotations

from provision.record import record


@record
class Accounting:
    """``utilization``: the share of the card that the engine takes unless told otherwise. Sizes in tokens and bytes.

    ``windows``: sliding-window layers keep only their window. ``state_blocks``: blocks a request keeps in each group of
    states. ``graphs``: CUDA graphs are measured and taken off before the cache is sized. ``by_concurrency``: the printed
    number of tokens is requests of the asked length times that length.
    """

    engine: str
    version: str
    utilization: float
    block: int = 16
    windows: bool = True
    state_blocks: int = 2
    by_concurrency: bool = True
    counts_tokens: bool = False
    graphs: bool = True
    batched: int = 8192
    seqs: int = 256
    all_ranks_sample: bool = True
