"""What of a weight lies on one GPU under tensor, pipeline, data and expert parallelism.

As vLLM and SGLang do it (vllm/model_executor/layers, read at 0.11 and 0.33): rows, columns, vocabulary and heads are divided
among the ``tp`` GPUs of a group; key and value heads too, and where there are fewer of them than GPUs each GPU keeps one;
down-projections of latent attention, norms and routers are on every GPU; experts are divided among ``tp * dp``, whole
with expert parallelism, in slices without, which is the same in bytes; layers are divided among ``pp`` stages.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from provision.errors import UsageError
from provision.fit.allocator import Counted, added
from provision.fit.architecture import Architecture
from provision.fit.precision import Precision, weight_bytes
from provision.fit.weights import BACK, FRONT, Weight
from provision.record import record

_ONE_TENSOR = ("self_attn.q_proj", "self_attn.k_proj")  # engines join the matrices of query, key and value


@record
class Parallel:
    """How many ways the model is divided. One replica takes ``tp * pp`` GPUs, and there are ``dp`` replicas."""

    tp: int = 1
    pp: int = 1
    dp: int = 1
    ep: bool = False

    @property
    def gpus(self) -> int:
        return self.tp * self.pp * self.dp


def divides(model: Architecture, tp: int) -> bool:
    """Whether ``tp`` GPUs can share the attention heads."""
    return heads_of(model) % tp == 0


def heads_of(model: Architecture) -> int:
    """Attention heads of a layer, the most where layers differ; 1 where there are none."""
    return max((layer.attention.heads for layer in model.layers if layer.attention.kind != "mamba"), default=1)


def refuse(model: Architecture, parallel: Parallel) -> None:
    """Raise ``UsageError`` where the model cannot be divided so: the nearest way that works is named."""
    heads = heads_of(model)
    if not divides(model, parallel.tp):
        works = [n for n in range(1, heads + 1) if heads % n == 0]
        near = [n for n in works if n < parallel.tp][-2:] + [n for n in works if n > parallel.tp][:1]
        raise UsageError(
            f"--tp {parallel.tp}: {heads} attention heads cannot be divided by {parallel.tp}; "
            f"{' or '.join([', '.join(map(str, near[:-1])), str(near[-1])] if near[1:] else map(str, near))} can"
        )
    if parallel.pp > len(model.layers):
        raise UsageError(f"--pp {parallel.pp}: the model has {len(model.layers)} layers")


def stages(layers: int, pp: int) -> list[range]:
    """The layers of every pipeline stage. What does not divide goes to the stages before the last, as vLLM has it."""
    each, rest = divmod(layers, pp)
    sizes = [each] * pp
    for at in range(2, rest + 2):
        sizes[-at] += 1
    found, start = [], 0
    for length in sizes:
        found.append(range(start, start + length))
        start += length
    return found


def share(weight: Weight, parallel: Parallel) -> Weight:
    """The part of ``weight`` that lies on one GPU of its stage (the largest part, where it does not divide)."""
    ways = parallel.tp
    if weight.split == "expert":
        ways *= parallel.dp
        if parallel.ep or not weight.inner:
            return _with(weight, count=-(-weight.count // ways))
        if weight.inner == "rows":
            return _with(weight, rows=-(-weight.rows // ways))
        return _with(weight, columns=-(-weight.columns // ways))
    if weight.split == "none":
        return weight
    if weight.split == "kv":
        ways = min(ways, max(weight.kv_heads, 1))
    if weight.split == "columns":
        return _with(weight, columns=-(-weight.columns // ways))
    return _with(weight, rows=-(-weight.rows // ways))


def per_gpu(
    model: Architecture,
    listed: Iterable[Weight],
    precision: Precision,
    parallel: Parallel,
    *,
    drafts: bool = False,
    shared_whole: bool = False,
    counted: Counted = "tensors",
) -> int:
    """Bytes of weights on the fullest GPU. ``drafts``: the layers of multi-token prediction are loaded too.

    ``shared_whole``: shared experts are whole on every GPU. ``counted``: with what torch's allocator adds to them.
    """
    element = model.element_bytes
    parts = stages(len(model.layers), parallel.pp)
    by_layer: dict[int, float] = {}
    tensors: dict[tuple[int, str], float] = {}
    for one in listed:
        if one.draft and not drafts:
            continue
        piece = one if shared_whole and one.kind == "shared" else share(one, parallel)
        held = weight_bytes(piece, precision, element)
        by_layer[one.layer] = by_layer.get(one.layer, 0.0) + held
        if counted != "tensors" and one.kind != "vision":
            tensor = "qkv" if one.module in _ONE_TENSOR else f"{one.module} {len(tensors)}"
            tensors[one.layer, tensor] = tensors.get((one.layer, tensor), 0.0) + held
    for (layer, _), size in tensors.items():
        by_layer[layer] += added(size, counted)
    totals = []
    for stage, part in enumerate(parts):
        held = sum(by_layer.get(at, 0.0) for at in part)
        held += by_layer.get(FRONT, 0.0) if stage == 0 else 0.0
        if stage == parallel.pp - 1:
            held += by_layer.get(BACK, 0.0)
            if model.tied and parallel.pp > 1:
                held += by_layer.get(FRONT, 0.0)  # the head is the embedding: the last stage needs it too
        totals.append(held)
    return round(max(totals))


def _with(weight: Weight, **changes: Any) -> Weight:
    return dataclasses.replace(weight, **changes)
