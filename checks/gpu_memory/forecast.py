"""The planned model on the cards that are here: what the engine would say after the download, said before it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from provision.check import ERROR, NOTE, Finding, NotApplicable, check
from provision.checks._words import counted, served, size
from provision.fact import Missing
from provision.facts.gpus import Gpus
from provision.facts.memory import Memory
from provision.plan import CardUse, GpuMemory, Serving


def _card(gpus: Gpus | Missing, plan: GpuMemory) -> tuple[Serving, CardUse]:
    """The planned split and one of its cards. Raises where there is none, or where no engine divides the model so."""
    serving = served(gpus, plan)
    if serving.card is None:
        raise NotApplicable("the model cannot be divided as it is asked for (MEM032)")
    return serving, serving.card


def _cards(serving: Serving) -> str:
    return "one GPU" if serving.ranks == 1 else f"each of {serving.ranks} GPUs"


def _instead(serving: Serving) -> tuple[str, ...]:
    """The commands and choices that follow."""
    return (f"provision fit {shlex.join(serving.question)}", *(f"or: {change}" for change in serving.instead))


@check("MEM030", ERROR, cause="insufficient-vram-weights")
def planned_weights_do_not_fit(gpus: Gpus | Missing, plan: GpuMemory) -> Iterator[Finding]:
    """The weights of the planned model are larger than what the engine may use of the cards.

    Every card holds its part of the weights before the first token. The engine takes a fixed share of a card and stops with
    "CUDA out of memory" where the weights alone are larger, after the whole download and minutes of loading. The sizes are
    those of `provision fit`: per tensor, from the published configuration or the headers in the folder.

    ## Fix
    A narrower precision (`[model] quantization`), more cards, a smaller model, or a larger share of the card. What would fit
    is listed with the finding.

    ## Proof
    None yet: the smoke test proves the bundled model. `provision doctor --select MEM030` works it out again.
    """
    serving, card = _card(gpus, plan)
    if card.weights_bytes >= card.usable_bytes:
        certain = card.cache_high_bytes < 0
        yield Finding(
            f"{serving.model} in {serving.precision} takes {size(card.weights_bytes)} on {_cards(serving)}; "
            f"{serving.engine} may use {size(card.usable_bytes)} of the {size(card.total_bytes)} of {serving.gpu}",
            measured={"usable_bytes": card.usable_bytes, "total_bytes": card.total_bytes, "gpus": serving.gpus},
            needed={"weights_bytes": card.weights_bytes, "ranks": serving.ranks},
            fix=_instead(serving),
            certainty="certain" if certain else "likely",
            tell_apart=() if certain else _settled(serving),
        )


@check("MEM031", ERROR, cause="insufficient-kv-cache")
def planned_cache_too_small(gpus: Gpus | Missing, plan: GpuMemory) -> Iterator[Finding]:
    """The planned model leaves too little GPU memory for the key-value cache.

    What weights, activations and CUDA graphs leave of a card's share holds the keys and values of every request. vLLM stops
    at its start where one request of the asked length does not fit ("the estimated maximum model length is …"); with
    more users than fit, requests wait or are thrown out again. What a step needs is an estimate: where its range reaches the
    other verdict, this is a warning.

    ## Fix
    A shorter `[model] context`, fewer users, `kv_cache_dtype = "fp8"`, a narrower precision of the weights, or more cards.

    ## Proof
    None yet: the smoke test proves the bundled model. `provision doctor --select MEM031` works it out again.
    """
    serving, card = _card(gpus, plan)
    if card.weights_bytes >= card.usable_bytes:
        raise NotApplicable("the weights alone do not fit (MEM030)")
    if card.cache_low_bytes < card.needed_bytes:
        certain = card.cache_high_bytes < card.needed_bytes
        between = f"{size(max(card.cache_low_bytes, 0))} to {size(max(card.cache_high_bytes, 0))}"
        yield Finding(
            f"{serving.model} in {serving.precision} leaves {between} on {_cards(serving)} for the cache; "
            f"{counted(card.users, 'request')} of {card.least_tokens:,} tokens "
            f"need{'s' * (card.users == 1)} {size(card.needed_bytes)}",
            measured={
                "cache_bytes": card.cache_bytes,
                "cache_low_bytes": card.cache_low_bytes,
                "cache_high_bytes": card.cache_high_bytes,
            },
            needed={"cache_bytes": card.needed_bytes, "tokens": card.least_tokens, "users": card.users},
            fix=_instead(serving),
            certainty="certain" if certain else "likely" if card.cache_bytes < card.needed_bytes else "possible",
            tell_apart=() if certain else _settled(serving),
        )


def _settled(serving: Serving) -> tuple[str, ...]:
    """What the engine's log prints takes the place of the estimates."""
    return (f"{_instead(serving)[0]} --activation-gib GIB --non-torch-gib GIB   # as the engine's log has them",)


@check("MEM032", ERROR, cause="tensor-parallel-not-divisible")
def planned_split_does_not_divide(gpus: Gpus | Missing, plan: GpuMemory) -> Iterator[Finding]:
    """The planned model cannot be divided into as many parts as provision.toml asks for.

    Tensor parallelism gives every card the same number of attention heads, and pipeline parallelism every stage a layer at
    least. vLLM stops at its start: "Total number of attention heads must be divisible by tensor parallel size".

    ## Fix
    Take one of the numbers that divide, or leave `[model] tp` out: the plan then takes the smallest number of cards that
    holds the model, with pipeline stages where the heads do not divide.

    ## Proof
    None of its own: it is arithmetic. `provision doctor --select MEM032` does it again.
    """
    serving = served(gpus, plan)
    if serving.refused:
        yield Finding(
            f"{serving.model}: {serving.refused}",
            measured={"tp": serving.tp, "pp": serving.pp},
            needed={"divides": True},
            fix=("provision plan   # with another tp in provision.toml, or without",),
        )


@check("MEM033", ERROR, cause="fewer-gpus-than-planned")
def planned_split_needs_more_gpus(gpus: Gpus | Missing, plan: GpuMemory) -> Iterator[Finding]:
    """provision.toml divides the model over more GPUs than there are.

    The engine needs a card for every part: `tp` x `pp` x `dp` of them. It stops before it loads anything.

    ## Fix
    Smaller numbers in `[model]`, or none: the plan then chooses them for the cards that are here.

    ## Proof
    None of its own: `provision doctor --select MEM033` counts again.
    """
    serving = served(gpus, plan)
    if serving.ranks > serving.gpus:
        yield Finding(
            f"tp {serving.tp} x pp {serving.pp} x dp {serving.dp} takes {counted(serving.ranks, 'GPU')}; "
            f"{counted(serving.gpus, 'is', 'are')} here",
            measured={"gpus": serving.gpus},
            needed={"gpus": serving.ranks},
            fix=("nvidia-smi -L", "or: smaller tp, pp or dp in provision.toml"),
        )


@check("MEM034", NOTE, cause="insufficient-host-memory")
def planned_model_larger_than_main_memory(gpus: Gpus | Missing, memory: Memory, plan: GpuMemory) -> Iterator[Finding]:
    """The planned model's files are larger than the machine's memory.

    What is read from the disk stays in main memory as long as there is room, so that the next start, and the next card that
    reads the same file, need not wait for the disk. Files that are larger push out their own beginning: every start is as
    slow as the first, and with tensor parallelism every card may read all of it again.

    ## Fix
    Nothing needs to be done where a start may take its time. Otherwise more main memory or a faster disk, or a checkpoint
    that is divided beforehand (vLLM: `--load-format sharded_state`).

    ## Proof
    STO-P1 shows what loading takes.
    """
    serving = served(gpus, plan)
    if memory.limit_bytes < serving.checkpoint_bytes:
        yield Finding(
            f"{serving.model} takes {size(serving.checkpoint_bytes)} on disk; the main memory is {size(memory.limit_bytes)}",
            measured={"limit_bytes": memory.limit_bytes},
            needed={"limit_bytes": serving.checkpoint_bytes},
            fix=(f"provision disk PATH --model {shlex.quote(serving.model)}   # how long a start then takes",),
        )
