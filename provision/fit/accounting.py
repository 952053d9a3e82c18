"""How an engine of a given version divides a card's memory, and what it assumes when nothing is asked (``engines.toml``)."""

from __future__ import annotations

from provision.catalog import engine_memory, sglang_memory
from provision.catalog.version import numbers
from provision.record import record

ENGINES = ("vllm", "sglang", "transformers")
_MIB = 2**20


@record
class Accounting:
    """``utilization``: the share of the card that the engine takes unless told otherwise. ``batched`` tokens and ``seqs``
    requests are those of its profiling step; ``captured`` are the batch sizes that CUDA graphs are made for.

    ``sliding``: layers with a window keep the "full" context, the "window" alone, or (SGLang) a "ratio" of the others'
    tokens. ``state_blocks``: blocks a request keeps in each group of states. ``graphs``: CUDA graphs are measured and
    taken off before the cache is sized. ``count``: what "tokens" are ("blocks", "groups", "concurrency", "pool").
    ``static``: the share is one of weights and cache alone, and what a step needs lies outside it. ``shared_whole``: every
    GPU keeps the shared experts whole, fused with its routed ones.
    """

    engine: str
    version: str  # empty: the newest that was read
    utilization: float
    block: int = 16
    sliding: str = "window"
    state_blocks: int = 2
    graphs: bool = False
    count: str = "concurrency"
    batched: int = 2048
    seqs: int = 256
    captured: tuple[int, ...] = ()
    static: bool = False
    shared_whole: bool = False

    @property
    def counts_tokens(self) -> bool:
        """Whether the cache is one pool of tokens, without blocks of layers."""
        return self.count == "pool"


def of(
    engine: str,
    version: str | None,
    *,
    card_name: str,
    card_bytes: int,
    length: int,
    tp: int = 1,
    pp: int = 1,
    latent: bool = False,
    seqs: int | None = None,
    batched: int | None = None,
) -> Accounting:
    """The engine's accounting. ``card_bytes`` as CUDA reports them, ``length`` the context in tokens."""
    if engine == "transformers":  # allocates as it goes: no share, no profiling, one request
        step = min(length or 2048, 2048)
        return Accounting(engine=engine, version=version or "", utilization=1.0, count="pool", batched=step, seqs=1)
    said = engine_memory.accounting(engine, version)
    if engine == "sglang":
        return _sglang(said, card_bytes, tp, pp, latent=latent, batched=batched)
    tier = said.batch(card_bytes, card_name)
    captured: tuple[int, ...] = ()
    if said.graphs:
        captured = said.graphs.sizes(seqs or tier.seqs, blackwell="b200" in card_name.lower())
    return Accounting(
        engine=engine,
        version=said.version,
        utilization=said.utilisation or 0.9,
        block=said.block_tokens() or 16,
        sliding=said.sliding or "full",
        state_blocks=1 if said.mamba in (None, "none") else 2,
        graphs=said.graph_memory == "before",
        count=said.token_count or "blocks",
        batched=tier.tokens(length if length <= 32768 else 2048),  # V0 prefills longer contexts in chunks
        seqs=tier.seqs,
        captured=captured,
    )


def _sglang(
    said: engine_memory.EngineMemory, card_bytes: int, tp: int, pp: int, *, latent: bool, batched: int | None
) -> Accounting:
    # nvidia-smi prints what the card has, CUDA what a program may have: 81559 and 81079 MiB on an H100 (engines.toml)
    mib = int(card_bytes / _MIB * 81559 / 81079)
    row = said.reserve(mib)
    return Accounting(
        engine="sglang",
        version=said.version,
        utilization=sglang_memory.static_fraction(said, mib, tp=tp, pp=pp, prefill_tokens=batched, latent=latent),
        block=1,
        sliding=said.sliding or "full",
        count="pool",
        batched=row.prefill_tokens,
        seqs=(row.graph_seqs if tp < 4 else row.graph_seqs_tp4) or 160,
        static=True,
        # 0.4.5 and 0.4.6 copy the shared expert to every rank ("Cloning 8 replicas of the shared expert into MoE": issue
        # 6001 prints 81.66 GB a GPU of DeepSeek-R1 for it)
        shared_whole=(0, 4, 5) <= numbers(said.version) < (0, 4, 7),
    )
