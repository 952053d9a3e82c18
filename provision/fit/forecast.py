"""One model, some cards, one engine: where each card's memory goes, and what is left for the cache."""

from __future__ import annotations

import dataclasses

from provision.fit.accounting import Accounting
from provision.fit.architecture import Architecture
from provision.fit.cache import Cache, cache
from provision.fit.parallel import Parallel, per_gpu
from provision.fit.precision import PRECISIONS, Precision
from provision.fit.weights import Weight
from provision.fit.working import Range, activation, graphs, non_torch
from provision.record import record


@record
class Asked:
    """What the user asked for; None where the engine's own default counts. ``*_gib``: measured values."""

    card_bytes: int  # what CUDA reports as the card's total
    parallel: Parallel
    kv_dtype: str = "auto"
    utilization: float | None = None
    length: int | None = None
    seqs: int | None = None
    batched: int | None = None
    eager: bool = False
    activation_gib: float | None = None
    non_torch_gib: float | None = None
    graph_gib: float | None = None
    users: int | None = None  # requests of that context that must fit at once
    drafts: int = 0  # tokens of speculative decoding by the model's own draft layers

    @property
    def requests(self) -> int:
        """Of the users' requests, those that one replica holds at once: each has a cache of its own."""
        return -(-(self.users or 1) // self.parallel.dp)


@record
class Forecast:
    """Bytes per GPU. ``pool`` may be negative: that much is missing. ``low`` and ``high`` bound it."""

    weights_bytes: int
    activation: Range
    non_torch: Range
    graphs: Range
    usable_bytes: int  # the engine's share of the card
    pool: int
    pool_low: int
    pool_high: int
    cache: Cache
    length: int  # the asked context, or the longest that is worth serving
    longest: int  # tokens of the longest request that the pool holds for each user, at most the model's context
    tokens: int
    concurrency: float
    enough: int  # tokens of context without which it does not fit
    too_many: bool  # requests at once, for an engine that keeps a state for each
    tokens_known: bool  # False where the engine divides the pool in a way that is not modelled
    fits: bool
    seqs: int
    batched: int


def forecast(
    model: Architecture,
    listed: list[Weight],
    precision: Precision,
    asked: Asked,
    engine: Accounting,
    weights_bytes: int | None = None,
) -> Forecast:
    """Divide the card. ``weights_bytes`` per GPU where a checkpoint was read; by arithmetic otherwise."""
    seqs = asked.seqs or engine.seqs
    batched = asked.batched or engine.batched
    precision = _held_as(precision, engine)
    held = weights_bytes
    if held is None:
        held = per_gpu(
            model,
            listed,
            precision,
            asked.parallel,
            drafts=asked.drafts > 0,
            shared_whole=engine.shared_whole,
            counted=engine.counted,
        )
    if engine.counted != "tensors":
        held += 2 * model.rotary
    active = (
        activation(model, asked.parallel, engine, batched=batched, seqs=seqs)
        if asked.activation_gib is None
        else Range.given(asked.activation_gib)
    )
    outside = non_torch(asked.parallel, engine) if asked.non_torch_gib is None else Range.given(asked.non_torch_gib)
    captured = (
        graphs(model, asked.parallel, engine, batched) if asked.graph_gib is None else Range.given(asked.graph_gib)
    )
    if asked.eager:
        captured = Range.given(0)
    share = asked.utilization if asked.utilization is not None else engine.utilization
    usable = int((asked.card_bytes - engine.context_bytes) * share)
    counted = captured if engine.graphs else Range.given(0)
    if engine.static:  # the rest of the card is for these
        active = outside = counted = Range.given(0)
    pool = usable - held - active.likely - outside.likely - counted.likely
    low = usable - int(held * 1.01) - active.high - outside.high - counted.high
    high = usable - int(held * 0.99) - active.low - outside.low - counted.low
    kv_dtype = asked.kv_dtype
    if kv_dtype == "auto" and precision.cache and engine.asks_checkpoint:
        kv_dtype = precision.cache
    kept = cache(model, asked.parallel, kv_dtype, engine, batched=batched, drafts=asked.drafts)
    context = model.context or asked.length or 4096
    longest = kept.longest(pool // asked.requests, max(context, asked.length or 0))
    length = asked.length or min(context, max(longest, 1))
    enough = asked.length or min(context, LEAST_CONTEXT)
    too_many = any(group[0] == "state" for group in kept.groups) and kept.blocks(pool) < seqs and asked.seqs is not None
    return Forecast(
        weights_bytes=held,
        activation=active,
        non_torch=outside,
        graphs=captured,
        usable_bytes=usable,
        pool=pool,
        pool_low=low,
        pool_high=high,
        cache=kept,
        length=length,
        longest=longest,
        tokens=kept.tokens(pool, length),
        concurrency=kept.concurrency(pool, length),
        tokens_known=not (engine.counts_tokens and any(one.attention.kind == "compressed" for one in model.layers)),
        enough=enough,
        too_many=too_many,
        fits=longest >= enough and not too_many,
        seqs=seqs,
        batched=batched,
    )


def _held_as(precision: Precision, engine: Accounting) -> Precision:
    """``precision`` as this engine holds it on this card."""
    if engine.marlin and precision.pads:
        return dataclasses.replace(precision, pads=128)
    if precision.name.startswith("bnb-nf4") and engine.engine == "vllm":
        like = PRECISIONS["bnb-nf4-double" if engine.nested_nf4 else "bnb-nf4"]
        return dataclasses.replace(precision, per_group=like.per_group)
    return precision


LEAST_CONTEXT = (
    2048  # tokens: a shorter context serves no conversation, so a card that holds only that does not hold the model
)
