"""The weight matrices of an architecture, by arithmetic over its shapes: what a checkpoint of it must hold.

Shapes are those of the published checkpoints (transformers' modelling files of each family); tests compare the sums with
the totals that checkpoints state. One ``Weight`` stands for ``count`` equal matrices.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Literal

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
    part: Literal["", "attention", "state", "block"] = ""  # which half of a layer a linear weight belongs to
    inner: Literal["", "rows", "columns"] = ""  # which side of an expert is its inner size
    stored: float = 0.0  # bytes an element has in a checkpoint that was read; 0 for arithmetic
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
        found.append(Weight(kind="head", layer=BACK, **table))  # type: ignore[arg-type]
    found.append(Weight(kind="small", rows=model.hidden, columns=1, layer=BACK))
    for at, layer in enumerate(model.layers):
        found += _layer(model, layer.attention, layer.feed_forward, at)
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
    part: Literal["state", "attention"] = "state" if attention.kind in ("linear", "mamba") else "attention"
    for one in _attention(attention, model.hidden, at):
        yield dataclasses.replace(one, part=part)
    for one in _feed_forward(block, model.hidden, at):
        yield dataclasses.replace(one, part="block")
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
        yield Weight(kind="linear", rows=rows * (2 if one.gated else 1), columns=hidden, layer=at, split="rows")
        yield Weight(kind="linear", rows=keys, columns=hidden, count=2, layer=at, split="kv", kv_heads=one.kv_heads)
        yield Weight(kind="linear", rows=hidden, columns=rows, layer=at, split="columns")
        if one.bias:
            yield Weight(kind="small", rows=rows + 2 * keys, columns=1, layer=at)
        if one.normed:
            yield Weight(kind="small", rows=one.head_size, columns=1, count=2, layer=at)


def _latent(one: Attention, hidden: int, at: int) -> Iterator[Weight]:
    query = one.heads * (one.head_size + one.rope_size)
    if one.q_rank:
        yield Weight(kind="linear", rows=one.q_rank, columns=hidden, layer=at)
        yield Weight(kind="small", rows=one.q_rank, columns=1, layer=at)
    yield Weight(kind="linear", rows=query, columns=one.q_rank or hidden, layer=at, split="rows")
    yield Weight(kind="linear", rows=one.kv_rank + one.rope_size, columns=hidden, layer=at)
    yield Weight(kind="small", rows=one.kv_rank, columns=1, layer=at)
    spread = one.heads * (one.head_size + one.value_size)
    yield Weight(kind="linear", rows=spread, columns=one.kv_rank, layer=at, split="rows")
    # the same matrix once more in 16 bit, absorbed into the query and the output: engines keep both
    yield Weight(kind="small", rows=spread, columns=one.kv_rank, layer=at, split="rows", derived=True)
    yield Weight(kind="linear", rows=hidden, columns=one.heads * one.value_size, layer=at, split="columns")
    yield from _indexer(one, hidden, at)


def _indexer(one: Attention, hidden: int, at: int) -> Iterator[Weight]:
    if one.index_heads:
        yield Weight(kind="linear", rows=one.index_heads * one.index_size, columns=one.q_rank or hidden, layer=at)
        yield Weight(kind="linear", rows=one.index_size, columns=hidden, layer=at)
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
    yield Weight(kind="linear", rows=2 * keys + 2 * values, columns=hidden, layer=at, split="rows")
    yield Weight(kind="router", rows=2 * one.kv_heads, columns=hidden, layer=at, split="rows")
    yield Weight(kind="small", rows=2 * keys + values, columns=max(one.convolution, 1), layer=at, split="rows")
    yield Weight(kind="linear", rows=hidden, columns=values, layer=at, split="columns")


def _mamba(one: Attention, hidden: int, at: int) -> Iterator[Weight]:
    inner = one.heads * one.head_size
    states = 2 * one.groups * one.state_size
    yield Weight(kind="linear", rows=2 * inner + states + one.heads, columns=hidden, layer=at, split="rows")
    yield Weight(kind="small", rows=inner + states, columns=one.convolution + 1, layer=at, split="rows")
    yield Weight(kind="linear", rows=hidden, columns=inner, layer=at, split="columns")


def _feed_forward(one: FeedForward, hidden: int, at: int) -> Iterator[Weight]:
    ups = 2 if one.gated else 1
    if one.size:
        yield Weight(kind="linear", rows=one.size, columns=hidden, count=ups, layer=at, split="rows")
        yield Weight(kind="linear", rows=hidden, columns=one.size, layer=at, split="columns")
    if one.experts:
        wide = one.latent_size or hidden
        experts = one.experts
        yield Weight(kind="router", rows=experts, columns=hidden, layer=at)
        up = Weight(kind="expert", rows=one.expert_size, columns=wide, layer=at, split="expert", inner="rows")
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
        yield Weight(kind="shared", rows=one.shared_size, columns=hidden, count=ups, layer=at, split="rows")
        yield Weight(kind="shared", rows=hidden, columns=one.shared_size, layer=at, split="columns")


def _vision(one: Vision, hidden: int) -> Iterator[Weight]:
    yield Weight(kind="vision", rows=one.hidden, columns=one.patch, layer=FRONT)
    yield Weight(kind="vision", rows=4 * one.hidden, columns=one.hidden, count=one.layers, layer=FRONT, split="rows")
    yield Weight(
        kind="vision", rows=one.intermediate, columns=one.hidden, count=2 * one.layers, layer=FRONT, split="rows"
    )
    yield Weight(kind="vision", rows=one.merged, columns=one.merged, layer=FRONT, split="rows")
    yield Weight(kind="vision", rows=hidden, columns=one.merged, layer=FRONT, split="columns")
