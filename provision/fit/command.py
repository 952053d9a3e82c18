"""``provision fit``: from the options to the answer."""

from __future__ import annotations

from typing import Any

from provision.errors import UsageError
from provision.fit import accounting, question
from provision.fit.accounting import Accounting
from provision.fit.answer import Answer, answer
from provision.fit.forecast import Asked
from provision.fit.parallel import Parallel


def run(
    *,
    model: str,
    gpu: str | None,
    gpu_memory_gib: float | None,
    gpus: int | None,
    tp: int | None,
    pp: int,
    dp: int,
    ep: bool,
    engine: str,
    quantization: str | None,
    dtype: str | None,
    here: Any = None,
    **given: Any,
) -> Answer:
    """Answer the question. ``here``: (card's name, its bytes or None, how many) of this machine, where no card is named.

    Raises ``UsageError`` for a model, card or engine that is not known, and for numbers that cannot go together.
    """
    resolved = question.model(model, quantization, dtype)
    if gpu is None and gpu_memory_gib is None:
        gpu, gpu_memory_gib, found = here
        gpus = gpus or found
    parallel = _parallel(gpus, tp, pp, dp, ep)
    card = question.card(gpu, gpu_memory_gib)
    asked = Asked(card_bytes=card[1], parallel=parallel, **given)
    return answer(resolved, card, asked, accounts(resolved, engine, gpu or "", asked))


def accounts(model: question.Model, engine: str, card_name: str, asked: Asked) -> Accounting:
    """How the engine ("vllm==0.33.0") divides such a card for this model. Raises ``UsageError`` for one that is not known."""
    name, version = question.engine(engine)
    return accounting.of(
        name,
        version,
        card_name=card_name,
        card_bytes=asked.card_bytes,
        length=asked.length or model.shapes.context or 0,
        tp=asked.parallel.tp,
        pp=asked.parallel.pp,
        latent=any(one.attention.kind == "latent" for one in model.shapes.layers),
        seqs=asked.seqs,
        batched=asked.batched,
    )


def _parallel(gpus: int | None, tp: int | None, pp: int, dp: int, ep: bool) -> Parallel:
    """``gpus`` cards are all used: by tensor parallelism, unless the options say otherwise."""
    if tp is None:
        tp = max((gpus or 1) // (pp * dp), 1)
    made = Parallel(tp=tp, pp=pp, dp=dp, ep=ep)
    if gpus is not None and gpus != made.gpus:
        raise UsageError(f"--gpus {gpus}: --tp {tp} x --pp {pp} x --dp {dp} takes {made.gpus}")
    return made
