"""The weight matrices of an architecture, by arithmetic over its shapes: what a checkpoint of it must hold.

Shapes are those of the published checkpoints (transformers' modelling files of each family); tests compare the sums with
the totals that checkpoints state. One ``Weight`` stands for ``count`` equal matrices.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal

from provision.fit.architecture import Architecture, Attention, FeedForward, Vision
from provision.record import record

FRONT, BACK = -1, -2  # instead of a layer's number: the embedding's side, the head's side


@record
class Weight:
    """``count`` matrices of ``rows`` (outputs) by ``columns`` (inputs); a vector has one column.

    ``kind`` says what a quantisation method does with it: ``linear`` and ``expert`` it quantises, the others usually not.
    ``split`` says how tensor parallelism divides it: by ``heads``' rows, by the rows of ``kv`` heads (repeated when there
    are fewer heads than GPUs), by ``rows``, by ``columns``, by ``vocabulary``, by ``expert``, or not at all.
    """

    kind: Literal["linear", "expert", "shared", "embedding", "head", "router", "small", "vision"]
    rows: int
    columns: int
    layer: int
    split: Literal["rows", "columns", "kv", "vocabulary", "expert", "none"] = "none"
    count: int = 1
    kv_heads: int = 0  # with split "kv"
    inner: Literal["", "rows", "columns"] = ""  # which side of an expert is its inner size
    stored: float = 0.0  # bytes an element has in a checkpoint that was read; 0 for arithmetic
    module: str = ""  # the name of its (first) linear module within a layer, "self_attn.q_proj", as quantisers list it
    derived: bool = False  # not in the checkpoint: the engine makes it beside the others when it loads
    draft: bool = False  # of multi-token prediction

    @property
    def elements(self) -> int:
        """Of all ``count`` matrices."""
        return self.rows * self.columns * self.count


def weights(model: Architecture) -> list[Weight]:
    """Every matrix and vector of ``model``, the draft layers included (marked)."""
    table = {"rows": model.vocabulary, "columns": model.hidden, "split": "vocabulary"}
    found = [Weight(kind="embedding", layer=FRONT, **table)]  # type: ignore[arg-type]
    if not model.tied:
        found.append(Weight(kind="head", layer=BACK, module="lm_head", **table))  # type: ignore[arg-type]
    found.append(Weight(kind="small", rows=model.hidden, columns=1, layer=BACK))
    for at, layer in enumerate(model.layers):
        found += _layer(model, layer.attention, layer.feed_forward, at)
    words, each = model.layer_inputs
    if each:
        wide = each * len(model.layers)
        found.append(Weight(kind="embedding", rows=words, columns=wide, layer=FRONT, split="vocabulary"))
        found.append(Weight(kind="small", rows=wide, columns=model.hidden, layer=FRONT, split="rows"))
        found += [
            Weight(kind="small", rows=each, columns=model.hidden, count=2, layer=at) for at in range(len(model.layers))
        ]
    if model.draft_layers and model.layers:
        last = model.layers[-1]
        for _ in range(model.draft_layers):
            one = [*_layer(model, last.attention, last.feed_forward, BACK)]
            one.append(Weight(kind="linear", rows=model.hidden, columns=2 * model.hidden, layer=BACK))
            found += [dataclasses.replace(weight, draft=True) for weight in one]
    if model.vision:
        found += _vision(model.vision, model.hidden)
    return found


def _layer(model: Architecture, attention: Attention, block: FeedForward, at: int) -> Iterator[Weight]:
    yield from _attention(attention, model.hidden, at)
    yield from _feed_forward(block, model.hidden, at)
    norms = 4 if model.model_type.startswith(("gemma2", "gemma3")) else 2
    yield Weight(kind="small", rows=model.hidden, columns=1, count=norms, layer=at)
    if model.streams > 1:  # what joins and parts the residual streams, before attention and before the block
        inner = model.streams * (2 + model.streams)
        yield Weight(kind="router", rows=inner, columns=model.streams * model.hidden, count=2, layer=at)


def _attention(one: Attention, hidden: int, at: int) -> Iterator[Weight]:
    if one.kind == "latent":
        yield from _latent(one, hidden, at)
    elif one.kind == "compressed":
        yield from _compressed(one, hidden, at)
    elif one.kind == "linear":
        yield from _linear(one, hidden, at)
    elif one.kind == "mamba":
        yield from _mamba(one, hidden, at)
    elif one.kind != "none":
        rows = one.heads * one.head_size
        keys = one.kv_heads * one.head_size
        yield _linear_of("self_attn.q_proj", rows * (2 if one.gated else 1), hidden, at, "rows")
        both = _linear_of("self_attn.k_proj", keys, hidden, at, "kv")
        yield dataclasses.replace(both, count=2, kv_heads=one.kv_heads)
        yield _linear_of("self_attn.o_proj", hidden, rows, at, "columns")
        if one.bias:
            yield Weight(kind="small", rows=rows + 2 * keys, columns=1, layer=at)
        if one.normed:
            yield Weight(kind="small", rows=one.head_size, columns=1, count=2, layer=at)


def _linear_of(module: str, rows: int, columns: int, at: int, split: Any = "none", count: int = 1) -> Weight:
    return Weight(kind="linear", rows=rows, columns=columns, layer=at, split=split, module=module, count=count)


def _latent(one: Attention, hidden: int, at: int) -> Iterator[Weight]:
    query = one.heads * (one.head_size + one.rope_size)
    if one.q_rank:
        yield _linear_of("self_attn.q_a_proj", one.q_rank, hidden, at)
        yield Weight(kind="small", rows=one.q_rank, columns=1, layer=at)
    spread_out = "self_attn.q_b_proj" if one.q_rank else "self_attn.q_proj"
    yield _linear_of(spread_out, query, one.q_rank or hidden, at, "rows")
    yield _linear_of("self_attn.kv_a_proj_with_mqa", one.kv_rank + one.rope_size, hidden, at)
    yield Weight(kind="small", rows=one.kv_rank, columns=1, layer=at)
    spread = one.heads * (one.head_size + one.value_size)
    yield _linear_of("self_attn.kv_b_proj", spread, one.kv_rank, at, "rows")
    # the same matrix once more in 16 bit, absorbed into the query and the output: engines keep both
    yield Weight(kind="small", rows=spread, columns=one.kv_rank, layer=at, split="rows", derived=True)
    yield _linear_of("self_attn.o_proj", hidden, one.heads * one.value_size, at, "columns")
    yield from _indexer(one, hidden, at)


def _indexer(one: Attention, hidden: int, at: int) -> Iterator[Weight]:
    if one.index_heads:
        yield _linear_of("self_attn.indexer.wq_b", one.index_heads * one.index_size, one.q_rank or hidden, at)
        yield _linear_of("self_attn.indexer.wk", one.index_size, hidden, at)
        yield Weight(kind="router", rows=one.index_heads, columns=hidden, layer=at)


def _compressed(one: Attention, hidden: int, at: int) -> Iterator[Weight]:
    wide = one.heads * one.head_size
    yield Weight(kind="linear", rows=one.q_rank, columns=hidden, layer=at)
    yield Weight(kind="linear", rows=wide, columns=one.q_rank, layer=at, split="rows")
    yield Weight(kind="linear", rows=one.head_size, columns=hidden, layer=at)
    groups = max(one.out_groups, 1)
    yield Weight(kind="linear", rows=groups * one.out_rank, columns=wide // groups, layer=at, split="rows")
    yield Weight(kind="linear", rows=hidden, columns=groups * one.out_rank, layer=at, split="columns")
    if one.ratio:
        # values and gates; windows that overlap (ratio 4) need both twice
        twice = 2 if one.ratio == 4 else 1
        yield Weight(kind="router", rows=2 * twice * one.head_size, columns=hidden, layer=at)
    if one.ratio == 4 and one.index_heads:
        yield Weight(kind="linear", rows=one.index_heads * one.index_size, columns=one.q_rank, layer=at)
        yield Weight(kind="router", rows=4 * one.index_size + one.index_heads, columns=hidden, layer=at)


def _linear(one: Attention, hidden: int, at: int) -> Iterator[Weight]:
    keys, values = one.key_heads * one.head_size, one.kv_heads * one.value_size
    yield _linear_of("linear_attn.in_proj_qkv", 2 * keys + 2 * values, hidden, at, "rows")
    yield Weight(kind="router", rows=2 * one.kv_heads, columns=hidden, layer=at, split="rows")
    yield Weight(kind="small", rows=2 * keys + values, columns=max(one.convolution, 1), layer=at, split="rows")
    yield _linear_of("linear_attn.out_proj", hidden, values, at, "columns")


def _mamba(one: Attention, hidden: int, at: int) -> Iterator[Weight]:
    inner = one.heads * one.head_size
    states = 2 * one.groups * one.state_size
    yield _linear_of("mixer.in_proj", 2 * inner + states + one.heads, hidden, at, "rows")
    yield Weight(kind="small", rows=inner + states, columns=one.convolution + 1, layer=at, split="rows")
    yield _linear_of("mixer.out_proj", hidden, inner, at, "columns")


def _feed_forward(one: FeedForward, hidden: int, at: int) -> Iterator[Weight]:
    ups = 2 if one.gated else 1
    if one.size:
        yield _linear_of("mlp.gate_proj", one.size, hidden, at, "rows", ups)
        yield _linear_of("mlp.down_proj", hidden, one.size, at, "columns")
    if one.experts:
        wide = one.latent_size or hidden
        experts = one.experts
        yield Weight(kind="router", rows=experts, columns=hidden, layer=at)
        up = Weight(
            kind="expert", rows=one.expert_size, columns=wide, layer=at, split="expert", inner="rows", module="experts"
        )
        yield dataclasses.replace(up, count=ups * experts)
        yield dataclasses.replace(up, count=experts, rows=wide, columns=one.expert_size, inner="columns")
        if one.latent_size:
            yield Weight(kind="linear", rows=wide, columns=hidden, layer=at)
            yield Weight(kind="linear", rows=hidden, columns=wide, layer=at)
        if one.bias:
            yield Weight(
                kind="small",
                rows=ups * one.expert_size + hidden,
                columns=1,
                count=one.experts,
                layer=at,
                split="expert",
            )
    if one.shared_size:
        up = _linear_of("shared_experts", one.shared_size, hidden, at, "rows", ups)
        yield dataclasses.replace(up, kind="shared")
        down = _linear_of("shared_experts", hidden, one.shared_size, at, "columns")
        yield dataclasses.replace(down, kind="shared")


def _vision(one: Vision, hidden: int) -> Iterator[Weight]:
    yield Weight(kind="vision", rows=one.hidden, columns=one.patch, layer=FRONT)
    yield Weight(kind="vision", rows=4 * one.hidden, columns=one.hidden, count=one.layers, layer=FRONT, split="rows")
    yield Weight(
        kind="vision",
        rows=one.intermediate,
        columns=one.hidden,
        count=one.matrices * one.layers,
        layer=FRONT,
        split="rows",
    )
    yield Weight(kind="vision", rows=one.merged, columns=one.merged, count=one.mergers, layer=FRONT, split="rows")
    yield Weight(kind="vision", rows=hidden, columns=one.merged, count=one.mergers, layer=FRONT, split="columns")
