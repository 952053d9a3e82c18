"""Published models by name: ``models/<organisation>/<name>.json``, one file each, from the published ``config.json``.

A row's ``config`` has the published keys that memory depends on, under their published names; what its source did not
say is left out, and the row's ``assumed`` says so. ``parameters`` and ``safetensors_bytes`` are null unless the source
states them.

A name is matched by its words (``model_name``), never by a list of spellings: family, version, size and active size must
agree, words such as Instruct need not. A word that the name lacks makes the match a guess, which ``assumed`` says; several
matches of different shape are an error that names them.
"""

from __future__ import annotations

import functools
import json
import os
from typing import Any

from provision.catalog import FOLDER, model_name
from provision.errors import UsageError
from provision.record import record

ROWS = FOLDER / "models"
# Rows that agree in these are one model to a memory estimate.
_DECISIVE = (
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "vocab_size"),
    *("intermediate_size", "moe_intermediate_size", "n_routed_experts", "num_experts", "num_local_experts"),
    *("q_lora_rank", "kv_lora_rank", "index_topk", "linear_num_value_heads", "compress_ratios", "tie_word_embeddings"),
    "quantization_config",
)


@record
class Published:
    """A published model. ``name``: "deepseek-ai/DeepSeek-V3". ``config``: as published, what memory depends on.

    ``quantization``: the method that the asked name implies ("awq", "gguf-q4_k_m"), None where it names none; the row's own
    is in ``config["quantization_config"]``. ``assumed``: a sentence for each thing that was guessed.
    """

    name: str
    config: dict[str, Any]
    quantization: str | None
    assumed: tuple[str, ...]
    parameters: int | None
    safetensors_bytes: int | None
    source: str
    date: str


def find(name: str) -> Published:
    """The model that ``name`` means. Raises ``UsageError`` for none or several, with the nearest names. Reads files."""
    asked = model_name.read(name)
    exact = [one for one in names() if name in (one, one.split("/")[1])]
    if len(exact) == 1:
        return _answer(exact[0], asked, ())
    found = _best(asked, names(), name) or _best(asked, _other_names(asked), name)
    if not found:
        raise UsageError(f"no published model is called {_shown(name)}{_nearest(name, asked)}")
    if any(_shape(one) != _shape(found[0]) for one in found):
        found = [one for one in found if any(model_name.read(alias) == asked for alias in row(one)["aliases"])] or found
    if any(_shape(one) != _shape(found[0]) for one in found):
        raise UsageError(f"{_shown(name)} may be any of {_listed(found)}: name one of them")
    return _answer(found[0], asked, _guessed(name, asked, found))


@functools.cache
def names() -> dict[str, str]:
    """Every published name of the catalogue, from the folder's listing alone; itself as value."""
    return {
        f"{folder.name}/{file.removesuffix('.json')}": f"{folder.name}/{file.removesuffix('.json')}"
        for folder in sorted(ROWS.iterdir())
        if folder.is_dir()
        for file in sorted(entry.name for entry in os.scandir(folder))
        if file.endswith(".json")
    }


@functools.cache
def row(name: str) -> dict[str, Any]:
    """The file of one of ``names()``."""
    read: dict[str, Any] = json.loads((ROWS / f"{name}.json").read_text(encoding="utf-8"))
    return read


def sibling(name: str, ending: str) -> str | None:
    """The row called ``…-ending`` of the same family as ``name``, the most alike; None where the catalogue has none."""
    import difflib

    def likeness(other: str) -> float:
        return difflib.SequenceMatcher(None, name.split("/")[1].lower(), other.split("/")[1].lower()).ratio()

    family = _family(name)
    ended = [other for other in names() if other.lower().endswith(f"-{ending}")]
    return next((one for one in sorted(ended, key=likeness, reverse=True) if _family(one) == family), None)


def _family(name: str) -> str | None:
    config = row(name)["config"]
    kind: str | None = config.get("text_config", {}).get("model_type") or config.get("model_type")
    return kind


def _answer(name: str, asked: model_name.Words, guessed: tuple[str, ...]) -> Published:
    found = row(name)
    return Published(
        name=name,
        config=found["config"],
        quantization=asked.quantization,
        assumed=(*guessed, *found["assumed"]),
        parameters=found["parameters"],
        safetensors_bytes=found["safetensors_bytes"],
        source=found["source"],
        date=found["date"],
    )


def _best(asked: model_name.Words, called: dict[str, str], name: str) -> list[str]:
    """The published names that fit best, the most likely first. ``called``: any name to its published one."""
    must, unknown = _must(asked)
    if not any(word.isalpha() for word in must) and not (asked.size and asked.active):
        return []  # a size alone is no model
    ranked = []
    for other, published in called.items():
        words = model_name.read(other)
        open_words = _open(asked, must, words, bool(unknown))
        if open_words is not None:
            elsewhere = published.split("/")[0].lower() not in name.lower()
            loose = len(words.soft ^ asked.soft)
            order = (words.quantization != asked.quantization, loose, elsewhere, len(other), other)
            # A name without its size stands for every size of a family, but not where a model is called just so.
            fit = 1 if asked.size is None and words.size is not None and not asked.numbers else len(open_words)
            ranked.append((fit, order, published))
    ranked.sort()
    fits = [(order, published) for fit, order, published in ranked if fit == ranked[0][0]]
    if fits and ranked[0][0] == 0:  # every word is there: Instruct and the date tell the releases of one size apart
        closest = min(order[1] for order, _ in fits)
        fits = [one for one in fits if one[0][1] == closest]
    quantized = [one for one in fits if one[0][0] == fits[0][0][0]]
    return list(dict.fromkeys(published for _, published in quantized))


def _must(asked: model_name.Words) -> tuple[frozenset[str], frozenset[str]]:
    """The words that a row must have (those some row has, numbers, other kinds of model), and the rest."""
    known = {word for word in asked.hard if not word.isalpha()} | (asked.hard & _vocabulary())
    must = frozenset(known) | model_name.another_kind(asked.hard)
    return must, asked.hard - must


def _open(
    asked: model_name.Words, must: frozenset[str], words: model_name.Words, renamed: bool
) -> frozenset[str] | None:
    """The words of a row that the asked name leaves open; None where they are not the same model.

    ``renamed``: the asked name has a word that no row has. It may be a model trained on from another, with a number of its
    own ("Hermes-3-Llama-3.1-8B"): every word of that other is then there.
    """
    size, left = asked.size, must
    if size is None and words.size in asked.numbers:  # "qwen 2.5 32 instruct": a size without its letter
        size, left = words.size, must - {words.size}
    if words.size != size and size is not None:
        return None
    if asked.active not in (None, words.active) or words.quantization not in (None, asked.quantization):
        return None
    added = left - words.hard
    if added and not (renamed and words.hard < left and not any(word.isalpha() for word in added)):
        return None
    more = words.hard - left
    return None if model_name.another_kind(more) else more


def _guessed(name: str, asked: model_name.Words, found: list[str]) -> tuple[str, ...]:
    """A sentence for what the name left open, and one for the words that nothing is known of."""
    must, unknown = _must(asked)
    words = model_name.read(found[0])
    said = []
    if words.hard - must or (words.size and not asked.size) or not any(word.isalpha() for word in must):
        others = f" ({_listed(found[1:])}: the same shapes)" if found[1:] else ""
        said.append(f"{_shown(name)} is taken as {found[0]}{others}")
    if unknown:
        said.append(
            f"{_shown(name)} is taken to have the shapes of {found[0]}: {_listed(sorted(unknown))} is not known here"
        )
    return tuple(said)


@functools.cache
def _vocabulary() -> frozenset[str]:
    """Every word that some name of the catalogue depends on."""
    return frozenset(word for name in names() for word in model_name.read(name).hard if word.isalpha())


def _other_names(asked: model_name.Words) -> dict[str, str]:
    """The aliases of the rows that share a word with the asked name, each to its published name."""
    near = [name for name in names() if asked.hard & model_name.read(name).hard] or list(names())
    return {alias: name for name in near for alias in row(name)["aliases"]}


def _shape(name: str) -> str:
    """What decides the memory of one model, as text that can be compared."""
    config = row(name)["config"]
    return json.dumps(_decides({**config, **config.get("text_config", {})}), sort_keys=True)


def _decides(config: dict[str, Any]) -> dict[str, Any]:
    found = {key: config[key] for key in _DECISIVE if config.get(key) is not None}
    if config.get("num_experts") and not config.get("mlp_only_layers") and config.get("decoder_sparse_step", 1) == 1:
        found.pop("intermediate_size", None)  # every layer has experts: the dense width is not used
    heads, width = found.get("num_attention_heads"), found.get("hidden_size")
    if heads and width and found.get("head_dim") == width / heads:
        del found["head_dim"]
    return found


def _nearest(name: str, asked: model_name.Words) -> str:
    """The closest names, in words for the message; empty where nothing is close."""
    import difflib

    short = {one.split("/")[1].lower(): one for one in names()}
    last = name[: model_name.LONGEST].rpartition("/")[2].lower()
    close = [short[one] for one in difflib.get_close_matches(last, short, n=3, cutoff=0.6)]
    if not close:
        family = [one for one in names() if asked.hard & {word for word in model_name.read(one).hard if word.isalpha()}]
        close = sorted(family, key=lambda one: -difflib.SequenceMatcher(None, last, one.lower()).quick_ratio())[:3]
    return f" (the nearest are {_listed(close)})" if close else ""


def _listed(some: list[str]) -> str:
    shown = [*some[:6], f"{len(some) - 6} more"] if len(some) > 6 else some
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def _shown(name: str) -> str:
    return repr(name if len(name) <= 80 else f"{name[:77]}...")
