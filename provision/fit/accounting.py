"""How an engine of a given version divides a card's memory, and what it assumes when nothing is asked (``engines.toml``)."""

from __future__ import annotations

from provision.catalog import engine_memory, gpus, sglang_memory
from provision.catalog.version import numbers
from provision.fit.allocator import Counted
from provision.record import record

ENGINES = ("vllm", "sglang", "transformers")
_MIB = 2**20
# SGLang takes its share of what is free before it loads. sglang issue 4826 shows 139.21 of an H200's 139.81 GiB, a run on four
# RTX 3090 23.08 of 23.58 (public file 55529353766). Where GPUs are linked, buffers of the communication are there already:
# 2.5 GiB on eight H200 (sglang PR 11716), 3.0 on four B200 (PR 8112); 1.8 on four H100 follow from vllm issue 21348.
_CONTEXT, _CONTEXT_LINKED = int(0.6 * 2**30), int(2.2 * 2**30)
_LINKED_FROM = 75 * 2**30  # a card of which only the memory is known: those of this size are linked


@record
class Accounting:
    """``utilization``: the share of the card that the engine takes unless told otherwise. ``batched`` tokens and ``seqs``
    requests are those of its profiling step; ``captured`` are the batch sizes that CUDA graphs are made for.

    ``sliding``: layers with a window keep the "full" context, the "window" alone, or (SGLang) a "ratio" of the others'
    tokens. ``state_blocks``: blocks a request keeps in each group of states. ``graphs``: CUDA graphs are measured and
    taken off before the cache is sized. ``count``: what "tokens" are ("blocks", "groups", "concurrency", "pool").
    ``static``: the share is one of weights and cache alone, and what a step needs lies outside it. ``shared_whole``: every
    GPU keeps the shared experts whole, fused with its routed ones. ``counted``: how it measures its weights. ``sorts``:
    sampling sorts the logits. ``asks_checkpoint``: a cache of type "auto" is what the checkpoint was quantised for.
    ``marlin``: the card is older than Hopper, whose 4-bit kernels are Marlin's. ``consumed``: what the
    device has lost counts, not torch's peak. ``first_engine``: vLLM's V0.
    ``nested_nf4``: it keeps the scales of NF4 quantised themselves. ``context_bytes``: what is gone before weights are loaded.
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
    counted: Counted = "tensors"
    sorts: bool = False
    asks_checkpoint: bool = False
    marlin: bool = False
    consumed: bool = False
    first_engine: bool = False
    nested_nf4: bool = False
    context_bytes: int = 0

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
        return _sglang(said, card_name, card_bytes, tp, pp, latent=latent, batched=batched)
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
        counted="allocated",
        sorts=said.sampling != "mask",
        asks_checkpoint=said.kv_type == "checkpoint",
        marlin=_before_hopper(card_name),
        consumed=said.non_kv == "consumed",
        nested_nf4=said.nf4 == "nested",
        first_engine=bool(said.version) and numbers(said.version) < (0, 8),
    )


def _before_hopper(card_name: str) -> bool:
    capability = gpus.compute_capability(card_name)
    return capability is not None and numbers(capability) < (9,)


def _sglang(
    said: engine_memory.EngineMemory,
    card_name: str,
    card_bytes: int,
    tp: int,
    pp: int,
    *,
    latent: bool,
    batched: int | None,
) -> Accounting:
    row_of_card = gpus.find(card_name)
    said_of_card = row_of_card.nvlink if row_of_card else None
    linked = card_bytes > _LINKED_FROM if said_of_card is None else said_of_card
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
        counted="reserved",
        context_bytes=_CONTEXT_LINKED if linked and tp > 1 else _CONTEXT,
        asks_checkpoint=said.kv_type == "checkpoint",
        # 0.4.5 and 0.4.6 copy the shared expert to every rank ("Cloning 8 replicas of the shared expert into MoE": issue
        # 6001 prints 81.66 GB a GPU of DeepSeek-R1 for it)
        shared_whole=(0, 4, 5) <= numbers(said.version) < (0, 4, 7),
    )
