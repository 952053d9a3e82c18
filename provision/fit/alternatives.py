"""What would fit where the asked does not: each way changes one thing, and where none does, precision and cards together."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from provision.catalog import gpus, hardware
from provision.fit import question
from provision.fit.accounting import Accounting
from provision.fit.forecast import LEAST_CONTEXT, Asked, forecast
from provision.fit.parallel import divides
from provision.fit.precision import PRECISIONS, Precision
from provision.fit.weights import weights

GIB = 2**30
# Narrower precisions, the widest first. What each asks of a card is vLLM 0.33's, in precisions.toml.
_NARROWER = ("fp8", "awq", "nvfp4", "bnb-nf4")
_VLLM = "0.33.0"
_WIDER = (2, 4, 8, 16)


def alternatives(model: question.Model, card: str, asked: Asked, engine: Accounting) -> list[dict[str, Any]]:
    """The nearest first. Each has ``change``, ``precision``, ``gpus``, ``tp`` and, but for offloading, what it then holds."""
    made = forecast(model.shapes, model.listed, model.precision, asked, engine)
    found: list[dict[str, Any]] = []

    def tried(what: str, changed: Asked, precision: Precision = model.precision) -> bool:
        one = _tried(model, engine, what, changed, precision)
        found.extend([one] if one else [])
        return one is not None

    if asked.length and made.longest >= LEAST_CONTEXT:
        length = made.longest // 1024 * 1024
        tried(f"a context of {length:,} tokens", dataclasses.replace(asked, length=length))
    if made.too_many:
        blocks = made.cache.blocks(made.pool)
        tried(f"{blocks} requests at once", dataclasses.replace(asked, seqs=blocks))
    if asked.kv_dtype == "auto":
        tried("KV cache in FP8", dataclasses.replace(asked, kv_dtype="fp8"))
    narrower = _narrower(model, card)
    for precision in narrower:
        tried(_words(precision), asked, precision)
    wider = [_on(asked, tp) for tp in _WIDER if tp > asked.parallel.tp and divides(model.shapes, tp)]
    for more in wider:
        if tried(f"{more.parallel.gpus} of these cards", more):
            break
    if not found:
        both = ((more, precision) for more in wider for precision in narrower)
        next(
            (1 for more, one in both if tried(f"{_words(one)} on {more.parallel.gpus} of these cards", more, one)), None
        )
    missing = made.weights_bytes + made.cache.request_bytes(made.enough) * asked.requests
    missing += made.activation.likely + made.non_torch.likely + made.graphs.likely - made.usable_bytes
    if engine.engine == "vllm" and 0 < missing <= made.weights_bytes / 2:  # beyond that nobody waits for the answer
        moved = math.ceil(missing / GIB) + 1
        found.append(
            {
                "change": f"--cpu-offload-gb {moved} (slow: every step moves them over PCIe)",
                "precision": model.precision.name,
                "gpus": asked.parallel.gpus,
                "tp": asked.parallel.tp,
            }
        )
    return found


def _tried(
    model: question.Model, engine: Accounting, what: str, changed: Asked, precision: Precision
) -> dict[str, Any] | None:
    # a precision that is not the stored one is priced by arithmetic
    listed = model.listed if precision is model.precision else weights(model.shapes)
    made = forecast(model.shapes, listed, precision, changed, engine)
    if not made.fits:
        return None
    return {
        "change": what,
        "precision": precision.name,
        "gpus": changed.parallel.gpus,
        "tp": changed.parallel.tp,
        "max_model_len": made.length,
        "kv_cache_tokens": made.tokens,
        "max_concurrency": round(made.concurrency, 2),
    }


def _narrower(model: question.Model, card: str) -> list[Precision]:
    """Precisions with fewer bits that the card's kernels can run; all of them for a card of which only memory is known."""
    if model.precision.kinds:
        return []
    row = gpus.find(card)
    capability = float(row.compute_capability) if row and row.compute_capability else 99.0
    return [PRECISIONS[name] for name in _NARROWER if capability >= _least(name)]


def _least(name: str) -> float:
    """NVFP4 runs on older cards too, but gains nothing there over AWQ."""
    row = hardware.precision("vllm", _VLLM, name)
    assert row is not None
    return float(row.native if name == "nvfp4" else row.least)


def _words(precision: Precision) -> str:
    how = "quantised while loading" if precision.load else "another checkpoint"
    return f"weights in {precision.name} ({how})"


def _on(asked: Asked, tp: int) -> Asked:
    return dataclasses.replace(asked, parallel=dataclasses.replace(asked.parallel, tp=tp))
