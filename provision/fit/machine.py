"""A model on the cards of one machine: into how many parts, and why.

As few cards as hold it: first by tensor parallelism alone, in numbers that divide the heads; where that does not do, by
pipeline parallelism too, as vLLM's documentation advises for numbers that do not divide ("Distributed inference and
serving", docs.vllm.ai).
"""

from __future__ import annotations

from provision.catalog import gpus as catalogue
from provision.errors import UsageError
from provision.facts.gpus import Gpus
from provision.fit import command, question
from provision.fit.accounting import Accounting
from provision.fit.answer import Answer, answer, gib
from provision.fit.forecast import Asked, Forecast, forecast
from provision.fit.parallel import Parallel, divides, refuse
from provision.record import record
from provision.spec import ModelSpec


@record
class Card:
    """The card that counts: of different ones the smallest, since every rank gets the same share."""

    name: str
    usable_bytes: int  # what CUDA reports as its total
    bandwidth: int | None
    assumed: str  # what was guessed of it, or ""


@record
class Division:
    """``answer`` is None where the asked split is ``refused`` (a sentence) by every engine. ``reasons``: why this split."""

    model: question.Model
    card: Card
    parallel: Parallel
    answer: Answer | None
    refused: str
    reasons: tuple[str, ...]


def card_of(seen: Gpus) -> Card | str:
    """The card that counts, or why none can be judged.

    CUDA shows less than NVML; the catalogue says how much. Where it has more than NVML (a virtual GPU, another make of the
    same name) NVML's number stands.
    """
    if not seen.gpus:
        return "the driver drives no GPU"
    if divided := [gpu.index for gpu in seen.gpus if gpu.mig_mode]:
        return f"GPU {divided[0]} is divided by MIG, and the forecast is for whole cards"
    found: list[Card] = []
    for gpu in seen.gpus:
        row, known = catalogue.find(gpu.name), catalogue.usable_bytes(gpu.name)
        bandwidth = row.memory_bandwidth if row else None
        if known is None and gpu.memory_bytes is None:
            return f"{gpu.name} is not in the catalogue and has no memory of its own"
        if known is not None and (gpu.memory_bytes is None or known[0] <= gpu.memory_bytes):
            found.append(Card(name=gpu.name, usable_bytes=known[0], bandwidth=bandwidth, assumed=""))
            continue
        assert gpu.memory_bytes is not None
        less = f"{gpu.name}: CUDA shows the {gib(gpu.memory_bytes)} of the driver's list, or a little less"
        found.append(Card(name=gpu.name, usable_bytes=gpu.memory_bytes, bandwidth=bandwidth, assumed=less))
    return min(found, key=lambda one: one.usable_bytes)


def divide(wanted: ModelSpec, card: Card, number: int, nvlink: bool | None) -> Division:
    """The model of provision.toml on ``number`` cards. ``nvlink``: every card has one that is up; None: not known.

    Raises ``UsageError`` for a model that is not known.
    """
    model = question.model(wanted.name, wanted.quantization, None)
    found, reasons = _chosen(model, wanted, card, number)
    refused = _refused(model, found)
    if refused:
        return Division(model=model, card=card, parallel=found, answer=None, refused=refused, reasons=tuple(reasons))
    if found.tp > 1 and nvlink is False:
        reasons.append("the GPUs have no NVLink: what they exchange at every layer goes over PCIe")
    spare = number // found.gpus * found.gpus - found.gpus
    if spare > 0 and wanted.dp is None:
        reasons.append(
            f"dp = {number // found.gpus * found.dp} would use {spare} more of the {number} GPUs, with a copy each"
        )
    made = answer(model, (card.name, card.usable_bytes, card.bandwidth), *_asked(model, wanted, card, found))
    return Division(model=model, card=card, parallel=found, answer=made, refused="", reasons=tuple(reasons))


def _asked(model: question.Model, wanted: ModelSpec, card: Card, parallel: Parallel) -> tuple[Asked, Accounting]:
    asked = Asked(
        card_bytes=card.usable_bytes,
        parallel=parallel,
        kv_dtype=wanted.kv_cache_dtype,
        utilization=wanted.gpu_memory_utilization,
        length=wanted.context,
        users=wanted.users,
    )
    return asked, command.accounts(model, wanted.engine, card.name, asked)


def _chosen(model: question.Model, wanted: ModelSpec, card: Card, number: int) -> tuple[Parallel, list[str]]:
    """The split and its reasons: the first that fits by the lower end of the estimates, else by the likely one.

    Where nothing fits: the one over the most cards, with the fewest stages.
    """
    if wanted.tp is not None:
        made = Parallel(tp=wanted.tp, pp=wanted.pp or 1, dp=wanted.dp or 1)
        return made, [f"tp = {wanted.tp} is asked for in provision.toml"]
    tried: list[tuple[Parallel, Forecast]] = []
    for one in _ways(model, wanted, number):
        tried.append((one, forecast(model.shapes, model.listed, model.precision, *_asked(model, wanted, card, one))))
        if _surely(tried[-1][1], wanted):
            break
    if not tried:
        one = Parallel(tp=1, pp=wanted.pp or 1, dp=wanted.dp or 1)
        return one, [f"pp = {one.pp} and dp = {one.dp} are asked for in provision.toml"]
    fitting = [one for one, made in tried if made.fits]
    if not fitting:
        widest, lacks = max(tried, key=lambda each: (each[0].gpus, -each[0].pp))
        here = "the one GPU" if number == 1 else f"the {number} GPUs"
        return widest, [_lacking(widest, lacks, wanted), f"no split over {here} here holds it"]
    one = tried[-1][0] if _surely(tried[-1][1], wanted) else fitting[0]
    at = [each for each, _ in tried].index(one)
    before = [_lacking(*tried[at - 1], wanted)] if at else []
    return one, [*before, _fewest(model, one, number), *_left_out(model, tried[at][1], wanted)]


def _surely(made: Forecast, wanted: ModelSpec) -> bool:
    """It fits at the lower end of the estimates, too."""
    return made.fits and made.pool_low >= _needed(made, wanted)


def _needed(made: Forecast, wanted: ModelSpec) -> int:
    return made.cache.request_bytes(made.enough) * _requests(wanted)


def _requests(wanted: ModelSpec) -> int:
    """Of the users' requests, those that one replica holds at once."""
    return -(-(wanted.users or 1) // (wanted.dp or 1))


def _left_out(model: question.Model, made: Forecast, wanted: ModelSpec) -> list[str]:
    """What follows from a context that provision.toml leaves out."""
    if wanted.context or made.longest >= (model.shapes.context or 0):
        return []
    each = "each request" if _requests(wanted) > 1 else "a request"
    return [
        f"context is left out: {made.longest:,} tokens are what is left for {each}, of the model's {model.shapes.context:,}"
    ]


def _ways(model: question.Model, wanted: ModelSpec, number: int) -> list[Parallel]:
    """Splits to try, the best first: tensor parallelism alone, then with pipeline stages; of these the fewest cards."""
    dp, layers = wanted.dp or 1, len(model.shapes.layers)
    counts = range(1, number // dp + 1)
    stages = [wanted.pp] if wanted.pp is not None else [n for n in counts if n <= layers]
    found = [
        Parallel(tp=tp, pp=pp, dp=dp)
        for pp in stages
        for tp in counts
        if tp * pp * dp <= number and divides(model.shapes, tp) and pp <= layers
    ]
    return sorted(found, key=lambda one: (one.pp > 1, one.tp * one.pp, one.pp))


def _fewest(model: question.Model, one: Parallel, number: int) -> str:
    uneven = [n for n in range(2, one.tp) if not divides(model.shapes, n)]
    if one.pp > 1:
        return f"{one.tp * one.pp} GPUs hold it with {one.pp} pipeline stages; by tensor parallelism alone no number here does"
    if one.tp == 1:
        return "one GPU holds it" if number > 1 else "the one GPU here holds it"
    said = f"{one.tp} GPUs are the fewest that hold it"
    return f"{said} ({', '.join(map(str, uneven))} would not divide the heads)" if uneven else said


def _lacking(one: Parallel, made: Forecast, wanted: ModelSpec) -> str:
    cards = one.tp * one.pp
    where = f"on {cards} GPU{'s' * (cards > 1)}"
    if made.weights_bytes >= made.usable_bytes:
        return f"{where} the weights alone lack {gib(made.weights_bytes - made.usable_bytes)} each"
    lacking = _needed(made, wanted) - made.pool
    if lacking <= 0:
        return f"{where} the cache may lack {gib(_needed(made, wanted) - made.pool_low)} each, by the wider estimates"
    return f"{where} the cache lacks {gib(lacking)} each"


def _refused(model: question.Model, parallel: Parallel) -> str:
    try:
        refuse(model.shapes, parallel)
    except UsageError as error:
        return error.message.removeprefix("--")
    return ""
