"""How an engine of a given version divides a card's memory, and what it assumes when nothing is asked."""

from __future__ import annotations

from provision.catalog.version import numbers
from provision.record import record

GIB = 2**30
ENGINES = ("vllm", "sglang", "transformers")
_BIG_CARD = 70 * GIB  # vLLM's own line between small and large cards (engine/arg_utils.py since 0.8)


@record
class Accounting:
    """``utilization``: the share of the card that the engine takes unless told otherwise. ``batched`` tokens and ``seqs``
    requests are those of its profiling step.

    ``windows``: sliding-window layers keep only their window. ``state_blocks``: blocks a request keeps in each group of
    states. ``graphs``: CUDA graphs are measured and taken off before the cache is sized. ``by_concurrency``: the printed
    number of tokens is requests of the asked length times that length. ``static``: the share is one of weights and cache
    alone, and what a step needs lies outside it.
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
    static: bool = False
    shared_whole: bool = False  # every GPU keeps the shared experts whole, fused with its routed ones


def of(engine: str, version: str | None, *, card_name: str, card_bytes: int, length: int, gpus: int = 1) -> Accounting:
    """The engine's accounting; no version means the newest that was read."""
    if engine == "sglang":
        return _sglang(version or "0.5.23", card_bytes, gpus)
    if engine == "transformers":
        return Accounting(
            engine=engine,
            version=version or "5.23",
            utilization=1.0,
            counts_tokens=True,
            graphs=False,
            batched=min(length or 2048, 2048),
            seqs=1,
        )
    said = version or "0.33.0"
    at = numbers(said)
    big = card_bytes >= _BIG_CARD and "a100" not in card_name.lower()
    if at < (0, 8):  # the V0 engine
        batched = max(length, 2048) if length <= 32768 else 2048
        return Accounting(
            engine=engine,
            version=said,
            utilization=0.9,
            windows=False,
            by_concurrency=False,
            graphs=False,
            batched=batched,
            seqs=256,
        )
    newer = at >= (0, 20)
    return Accounting(
        engine=engine,
        version=said,
        utilization=0.92 if newer else 0.9,
        windows=at >= (0, 10),
        state_blocks=2 if newer else 1,
        by_concurrency=newer,
        graphs=newer,
        batched=8192 if big else 2048,
        seqs=1024 if big else 256,
    )


def _sglang(version: str, card_bytes: int, gpus: int) -> Accounting:
    mib = card_bytes / 2**20
    chunk = 2048 if mib < 20_000 else 4096 if mib < 60_000 else 8192 if mib < 90_000 else 16384
    graph = 8 if mib < 20_000 else 24 if mib < 35_000 else 160 if mib < 90_000 else 256
    reserve = 512 + 1.5 * max(chunk, 2048) + 2 * graph + gpus / 8 * 1024
    if mib > 60_000:
        reserve = max(reserve, 10 * 1024)
    share = round((mib - reserve) / mib, 3)
    return Accounting(
        engine="sglang",
        version=version,
        utilization=share,
        block=1,
        counts_tokens=True,
        graphs=False,
        batched=chunk,
        seqs=graph,
        static=True,
        shared_whole=(0, 4, 5) <= numbers(version) < (0, 4, 7),
    )
