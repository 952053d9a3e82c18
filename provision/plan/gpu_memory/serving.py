"""How the model of provision.toml is to be served here: precision, split, the engine's options, and what they leave.

Worked out by the code of ``provision fit``, which is imported only where a model is asked for (the start-up budget).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from provision.errors import UsageError
from provision.fact import NotKnown, Snapshot
from provision.facts.gpu_links import GpuLinks
from provision.facts.gpus import Gpus
from provision.record import record
from provision.spec import BUNDLED, ModelSpec, Spec

if TYPE_CHECKING:
    from provision.fit.answer import Answer
    from provision.fit.question import Model


@record
class CardUse:
    """One card of the split, in bytes; all are alike, and the fullest is meant.

    ``parts``: what its memory goes to, in the order of a picture, "not used" last. ``cache_bytes`` may be negative: so much
    is missing; ``cache_low_bytes`` and ``cache_high_bytes`` bound it. ``needed_bytes`` of cache hold ``users`` requests
    of ``least_tokens``. ``requests`` of ``tokens`` each fit at once; None: the engine divides the cache in a way that is not
    modelled.
    """

    total_bytes: int
    usable_bytes: int  # the engine's share
    weights_bytes: int
    cache_bytes: int
    cache_low_bytes: int
    cache_high_bytes: int
    needed_bytes: int
    least_tokens: int
    users: int
    tokens: int
    requests: float | None
    parts: dict[str, int]


@record
class Serving:
    """``card`` is None where no engine divides the model so: ``refused`` says why. ``gpus``: how many are here.

    ``question``: the words after ``provision fit`` that ask for just this. ``checkpoint_bytes``: what the model takes on
    disk, ``here``: it lies in a folder already. ``instead``: what would fit where this does not.
    """

    model: str
    precision: str
    engine: str  # "vllm==0.33.0", or "vllm": its newest version that is known
    options: tuple[str, ...]
    question: tuple[str, ...]
    tp: int
    pp: int
    dp: int
    gpu: str
    gpus: int
    checkpoint_bytes: int
    here: bool
    refused: str
    fits: bool
    certain: bool
    card: CardUse | None
    reasons: tuple[str, ...]
    instead: tuple[str, ...]
    assumed: tuple[str, ...]
    runs_in: str = ""  # ``precision`` as kernels know it: a folder's own, "none" for 16 bit, "" where it is not known

    @property
    def ranks(self) -> int:
        """How many GPUs it takes."""
        return self.tp * self.pp * self.dp

    @property
    def verdict(self) -> Literal["fits", "probably fits", "probably does not fit", "does not fit", "cannot be divided"]:
        """In words."""
        if self.refused:
            return "cannot be divided"
        if self.fits:
            return "fits" if self.certain else "probably fits"
        return "does not fit" if self.certain else "probably does not fit"


def desire(snapshot: Snapshot, spec: Spec) -> Serving | str:
    """How to serve it, or why that cannot be said; "" for the bundled model.

    Raises ``UsageError`` for a model that is not known.
    """
    if spec.model.name == BUNDLED:
        return ""
    seen = snapshot.get(Gpus)
    if isinstance(seen, NotKnown):
        _known(spec)
        return seen.reason
    from provision.fit import machine, on_disk

    card = machine.card_of(seen)
    if isinstance(card, str):
        _known(spec)
        return card
    links = snapshot.known(GpuLinks)
    nvlink = all(any(one.active for one in gpu.nvlinks) for gpu in links.gpus) if links else None
    with _naming_the_key():
        made = machine.divide(spec.model, card, len(seen.gpus), nvlink)
    model, answer, split = made.model, made.answer, made.parallel
    return Serving(
        model=model.name,
        precision=model.precision.name if model.precision.kinds else "16 bit",
        runs_in=model.runs_in,
        engine=spec.model.engine,
        options=answer.engine_args if answer else (),
        question=_question(spec.model, split.tp, split.pp, split.dp),
        tp=split.tp,
        pp=split.pp,
        dp=split.dp,
        gpu=card.name,
        gpus=len(seen.gpus),
        checkpoint_bytes=on_disk.checkpoint_bytes(spec.model.name, spec.model.quantization)
        if model.file_bytes is None
        else model.file_bytes,
        here=model.file_bytes is not None,
        refused=made.refused,
        fits=answer.fits if answer else False,
        certain=answer.certain if answer else True,
        card=_use(answer) if answer else None,
        reasons=made.reasons,
        instead=tuple(str(one["change"]) for one in answer.alternatives) if answer else (),
        assumed=(*model.assumed, *([card.assumed] if card.assumed else [])),
    )


def _question(wanted: ModelSpec, tp: int, pp: int, dp: int) -> tuple[str, ...]:
    options = (
        ("--model", wanted.name),
        ("--gpus", tp * pp * dp),
        ("--tp", tp),
        ("--pp", pp),
        ("--dp", dp),
        ("--quantization", wanted.quantization),
        ("--max-model-len", wanted.context),
        ("--users", wanted.users),
        ("--kv-cache-dtype", wanted.kv_cache_dtype),
        ("--gpu-memory-utilization", wanted.gpu_memory_utilization),
        ("--engine", wanted.engine),
    )
    usual = {"--pp": 1, "--dp": 1, "--kv-cache-dtype": "auto", "--engine": "vllm"}
    return tuple(
        word for name, value in options if value is not None and value != usual.get(name) for word in (name, str(value))
    )


def precision(spec: Spec) -> str:
    """What the model of provision.toml has its weights in ("fp8-block", "none" for 16 bit). Raises ``UsageError``."""
    return _known(spec).runs_in


def _known(spec: Spec) -> Model:
    """A model that nobody knows is said also where there is no card to judge it on."""
    from provision.fit import question

    with _naming_the_key():
        return question.model(spec.model.name, spec.model.quantization, None)


@contextmanager
def _naming_the_key() -> Iterator[None]:
    try:
        yield
    except UsageError as error:
        said = error.message.removeprefix("--model ")
        raise UsageError(f"provision.toml: model.name: {said}", error.next_command) from None


def _use(answer: Answer) -> CardUse:
    from provision.fit import answer as answers

    made, users = answer.forecast, answer.asked.users or 1
    reached = answers.loads(made, answer.card_bytes) and made.tokens_known
    return CardUse(
        total_bytes=answer.card_bytes,
        usable_bytes=made.usable_bytes,
        weights_bytes=made.weights_bytes,
        cache_bytes=made.pool,
        cache_low_bytes=made.pool_low,
        cache_high_bytes=made.pool_high,
        needed_bytes=made.cache.request_bytes(made.enough) * users,
        least_tokens=made.enough,
        users=users,
        tokens=made.length,
        requests=round(made.concurrency, 2) if reached else None,
        parts=answers.parts(answer),
    )
