"""``provision fit``: does it fit, why, and what would."""

from __future__ import annotations

import math
from typing import Any

from provision.fit import question
from provision.fit.accounting import Accounting
from provision.fit.alternatives import alternatives
from provision.fit.forecast import Asked, Forecast, forecast
from provision.fit.parallel import Parallel, refuse
from provision.fit.precision import weight_bytes
from provision.record import record

GIB = 2**30


@record
class Answer:
    """Everything that is printed. ``tokens_per_s``: the most that memory bandwidth lets one request decode."""

    model: question.Model
    card: str
    card_bytes: int
    asked: Asked
    engine: Accounting
    forecast: Forecast
    fits: bool
    certain: bool  # the range of the estimates does not reach the other verdict
    why: tuple[str, ...]
    engine_args: tuple[str, ...]
    alternatives: tuple[dict[str, Any], ...]
    tokens_per_s: float | None


def answer(model: question.Model, card: tuple[str, int, int | None], asked: Asked, engine: Accounting) -> Answer:
    """Raises ``UsageError`` where the model cannot be divided as asked."""
    refuse(model.shapes, asked.parallel)
    made = forecast(model.shapes, model.listed, model.precision, asked, engine)
    return Answer(
        model=model,
        card=card[0],
        card_bytes=card[1],
        asked=asked,
        engine=engine,
        forecast=made,
        fits=made.fits,
        certain=_certain(made, asked),
        why=tuple(_why(model, made, asked, card)),
        engine_args=_arguments(model, asked, engine, made),
        alternatives=() if made.fits else tuple(alternatives(model, card[0], asked, engine)),
        tokens_per_s=_ceiling(model, asked.parallel, card[2]),
    )


def loads(made: Forecast, card_bytes: int) -> bool:
    """Whether the weights alone can be loaded; where not, an engine never comes to size a cache."""
    return made.weights_bytes < card_bytes


def as_json(one: Answer) -> dict[str, Any]:
    """The document of ``provision fit --json``; bytes are per GPU. ``null`` where the engine would not come that far."""
    made = one.forecast
    reached = loads(made, one.card_bytes)
    counted = reached and made.tokens_known
    return {
        "schema": 1,
        "model": one.model.name,
        "precision": one.model.precision.name,
        "gpu": one.card,
        "gpu_bytes": one.card_bytes,
        "gpus": one.asked.parallel.gpus,
        "engine": engine_name(one.engine),
        "fits": one.fits,
        "certain": one.certain,
        "why": list(one.why),
        "usable_bytes": made.usable_bytes,
        "weights_bytes": made.weights_bytes,
        "activation_bytes": made.activation.likely,
        "non_torch_bytes": made.non_torch.likely,
        "cuda_graph_bytes": made.graphs.likely,
        "kv_bytes_per_token": math.ceil(made.cache.bytes_per_token),
        "kv_cache_bytes": made.pool if reached else None,
        "kv_cache_tokens": made.tokens if counted else None,
        "max_model_len": made.length,
        "max_concurrency": round(made.concurrency, 2) if counted else None,
        "range": {
            "activation_bytes": [made.activation.low, made.activation.high],
            "non_torch_bytes": [made.non_torch.low, made.non_torch.high],
            "cuda_graph_bytes": [made.graphs.low, made.graphs.high],
            "kv_cache_bytes": [made.pool_low, made.pool_high],
        },
        "decode_tokens_per_s_at_most": one.tokens_per_s,
        "engine_args": list(one.engine_args),
        "alternatives": list(one.alternatives),
        "assumed": list(one.model.assumed),
        "source": one.model.source,
    }


def _certain(made: Forecast, asked: Asked) -> bool:
    """The verdict is the same at both ends of the pool's range."""
    need = made.cache.request_bytes(made.enough) * asked.requests
    return (made.pool_low >= need) == (made.pool_high >= need)


def _why(model: question.Model, made: Forecast, asked: Asked, card: tuple[str, int, int | None]) -> list[str]:
    """The reasons in the order in which an engine would meet them."""
    parts = asked.parallel
    split = f" on each of {parts.gpus} GPUs" if parts.gpus > 1 else ""
    said = [
        f"weights in {model.precision.name if model.precision.kinds else '16 bit'} take {gib(made.weights_bytes)}{split}"
    ]
    rest = made.usable_bytes - made.weights_bytes - made.pool
    if made.weights_bytes >= made.usable_bytes:
        short = made.weights_bytes - made.usable_bytes
        said.append(
            f"the engine may use {gib(made.usable_bytes)} of {card[0]}'s {gib(card[1])}: "
            f"{gib(short)} too little for the weights alone"
        )
        return said
    said.append(
        f"of the {gib(made.usable_bytes)} that the engine may use, activations and the like take about {gib(rest)}"
    )
    if made.pool <= 0:
        said.append(f"nothing is left for the KV cache: {gib(-made.pool)} are missing")
        return said
    many = asked.requests > 1
    each = f"{asked.requests} requests" if many else "one request"
    if asked.users and parts.dp > 1:
        each += f" on each of {parts.dp} replicas"
    need = made.cache.request_bytes(made.length) * asked.requests
    said.append(
        f"{gib(made.pool)} are left for the KV cache; {each} of {made.length:,} tokens need{'s' * (not many)} {gib(need)}"
    )
    context = model.shapes.context
    if made.longest < made.enough:
        said.append(f"the longest that {'each' if many else 'one'} can have is {made.longest:,} tokens")
    elif made.too_many:
        said.append(
            f"{made.cache.blocks(made.pool)} cache blocks are too few for {asked.seqs} requests at once: each keeps a state"
        )
    elif context and not asked.length and made.longest < context:
        said.append(f"the model's own context of {context:,} tokens does not fit: pass the length below")
    return said


def engine_name(engine: Accounting) -> str:
    """``vllm==0.33.0``; ``vllm`` where its newest version was taken."""
    return f"{engine.engine}=={engine.version}" if engine.version else engine.engine


def parts(one: Answer) -> dict[str, int]:
    """What a card's memory goes to, in bytes and in the order of a picture."""
    made = one.forecast
    sizes = {
        "weights": made.weights_bytes,
        "activations": made.activation.likely,
        "outside torch": made.non_torch.likely,
        "CUDA graphs": made.graphs.likely if one.engine.graphs and not one.engine.static else 0,
        "KV cache": max(made.pool, 0),
    }
    sizes["not used"] = max(one.card_bytes - sum(sizes.values()), 0)
    return sizes


def gib(size: float) -> str:
    """``22.3 GiB``: the digits that the estimates bear."""
    return f"{size / GIB:.1f} GiB"


def _arguments(model: question.Model, asked: Asked, engine: Accounting, made: Forecast) -> tuple[str, ...]:
    """The engine's options, ready to paste; only those that differ from its defaults."""
    sglang = engine.engine == "sglang"
    parts = asked.parallel
    found: list[str] = []
    for value, ours, theirs in (
        (parts.tp, "--tensor-parallel-size", "--tp-size"),
        (parts.pp, "--pipeline-parallel-size", "--pp-size"),
        (parts.dp, "--data-parallel-size", "--dp-size"),
    ):
        if value > 1:
            found += [theirs if sglang else ours, str(value)]
    if parts.ep:
        found.append("--enable-ep-moe" if sglang else "--enable-expert-parallel")
    if asked.length or (model.shapes.context and made.longest < model.shapes.context and made.longest):
        found += ["--context-length" if sglang else "--max-model-len", str(asked.length or made.length)]
    if asked.kv_dtype != "auto":
        found += ["--kv-cache-dtype", asked.kv_dtype]
    if asked.utilization is not None:
        found += ["--mem-fraction-static" if sglang else "--gpu-memory-utilization", f"{asked.utilization:g}"]
    if asked.seqs:
        found += ["--max-running-requests" if sglang else "--max-num-seqs", str(asked.seqs)]
    if asked.batched:
        found += ["--chunked-prefill-size" if sglang else "--max-num-batched-tokens", str(asked.batched)]
    if model.precision.load:
        found += ["--quantization", "bitsandbytes"]
    if asked.eager:
        found.append("--disable-cuda-graph" if sglang else "--enforce-eager")
    return tuple(found)


def _ceiling(model: question.Model, parallel: Parallel, bandwidth: int | None) -> float | None:
    """Tokens a second of one request: every step reads each weight that a token goes through once."""
    if not bandwidth:
        return None
    read = 0.0
    for one in model.listed:
        if one.draft or one.kind in ("embedding", "vision"):
            continue
        held = weight_bytes(one, model.precision, model.shapes.element_bytes)
        if one.kind == "expert":
            layer = model.shapes.layers[one.layer] if 0 <= one.layer < len(model.shapes.layers) else None
            block = layer.feed_forward if layer else None
            held *= block.active / block.experts if block and block.experts else 1
        read += held
    if model.shapes.tied:
        read += model.shapes.vocabulary * model.shapes.hidden * model.shapes.element_bytes
    return float(f"{bandwidth * parallel.tp / read:.2g}") if read else None
