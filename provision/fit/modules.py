"""Which modules of a model a checkpoint's ``quantization_config`` leaves in 16 bit, or stores in a second precision.

Quantisers list modules by their names in the model: with ``*``, as ``re:`` and a regular expression, or one by one
(modelopt's ``exclude_modules``, compressed-tensors' ``ignore``, transformers' ``modules_to_not_convert``). What they do to a
single layer, most often the first and the last, is not followed: a name that stands for fewer than three layers is passed over.
"""

from __future__ import annotations

import fnmatch
import re
from collections import Counter
from typing import Any

_ATTENTION = ("q_proj", "k_proj", "o_proj", "q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj")
_INDEXER = ("indexer.wq_b", "indexer.wk")
_MODULES = (
    *(f"self_attn.{name}" for name in (*_ATTENTION, *_INDEXER)),
    *("linear_attn.in_proj_qkv", "linear_attn.out_proj", "mixer.in_proj", "mixer.out_proj"),
    *("mlp.gate_proj", "mlp.down_proj", "experts", "shared_experts", "lm_head"),
)
# Where families keep experts under another name than "mlp.experts" (transformers' modelling files).
_EXPERTS = {
    "gemma4": "experts",
    "minimax_m2": "block_sparse_moe.experts",
    "mixtral": "block_sparse_moe.experts",
    "nemotron_h": "mixer.experts",
}
_BEFORE = ("model.layers.7.", "model.language_model.layers.7.", "language_model.model.layers.7.", "backbone.layers.7.")
_DRAFT = re.compile(r"(?:^|[.*])(?:mtp|nextn|eagle)")  # the layers of multi-token prediction
_LAYER = re.compile(r"(?<=layers\.)\d+(?=\.)")
_LAYERS_THAT_STAND_FOR_ALL = 3


def apart(given: dict[str, Any], model_type: str) -> tuple[tuple[str, str], ...]:
    """Modules (a ``Weight``'s ``module``) that have a precision of their own, with its name; "none" is 16 bit."""
    left = _patterns(given, "ignore", "exclude_modules", "modules_to_not_convert")
    groups = given.get("config_groups")
    targets = [
        (_targets(group), stored(group.get("weights")))
        for group in (groups.values() if isinstance(groups, dict) else ())
        if isinstance(group, dict)
    ]
    found = []
    for module in _MODULES:
        names = _names(module, model_type)
        if any(_held(name, left) for name in names):
            found.append((module, "none"))
        elif len(targets) > 1:
            named = next((kind for wanted, kind in targets if any(_held(name, wanted) for name in names)), "")
            if named or not any("Linear" in wanted for wanted, _ in targets):
                found.append((module, named or "none"))
    if any(_DRAFT.search(one) for one in left):
        found.append(("draft", "none"))
    return tuple(one for one in found if one != ("lm_head", "none"))


def stored(weights: Any) -> str:
    """The precision that a group's ``weights`` describe, by name; empty for none that is known."""
    if not isinstance(weights, dict):
        return ""
    bits, kind = weights.get("num_bits"), weights.get("type")
    if bits == 8:
        return ("fp8-block" if weights.get("strategy") == "block" else "fp8") if kind == "float" else "int8"
    if bits == 4:
        return ("mxfp4" if weights.get("group_size") == 32 else "nvfp4") if kind == "float" else "int4"
    return ""


def cached(given: dict[str, Any]) -> str:
    """The type of cache that a checkpoint asks for ("fp8"); empty where it asks for none."""
    scheme = given.get("kv_cache_scheme")
    if isinstance(scheme, dict) and scheme.get("num_bits") == 8 and scheme.get("type") == "float":
        return "fp8"
    return "fp8" if str(given.get("kv_cache_quant_algo")).lower() == "fp8" else ""


def _targets(group: dict[str, Any]) -> tuple[str, ...]:
    found = group.get("targets")
    return tuple(str(one) for one in found) if isinstance(found, list) else ()


def _patterns(given: dict[str, Any], *keys: str) -> tuple[str, ...]:
    listed = [str(one) for key in keys if isinstance(given.get(key), list) for one in given[key]]
    layers = Counter(_LAYER.sub("*", one) for one in listed if _LAYER.search(one) and not one.startswith("re:"))
    whole = [one for one in listed if one.startswith("re:") or not _LAYER.search(one)]
    return (*whole, *(one for one, often in layers.items() if often >= _LAYERS_THAT_STAND_FOR_ALL))


def _names(module: str, model_type: str) -> tuple[str, ...]:
    """What quantisers may call ``module`` of layer 7."""
    if module == "lm_head":
        return ("lm_head", "language_model.lm_head")
    inner: tuple[str, ...] = (module,)
    family = model_type.removesuffix("_text")
    if module == "experts":
        where = _EXPERTS.get(family, "mlp.experts")
        inner = (where, f"{where}.0.gate_proj")
    elif module == "shared_experts":
        inner = ("mlp.shared_experts.gate_proj", "mlp.shared_expert.gate_proj", "mixer.shared_experts.up_proj")
    elif family == "nemotron_h":
        inner = (module.replace("self_attn.", "mixer.").replace("mlp.gate_proj", "mixer.up_proj"),)
    return tuple(f"{before}{one}" for before in _BEFORE for one in inner)


def _held(name: str, patterns: tuple[str, ...]) -> bool:
    return any(_matches(name, one) for one in patterns)


def _matches(name: str, pattern: str) -> bool:
    if pattern.startswith("re:"):
        try:
            return bool(re.match(pattern[3:], name))
        except re.error:
            return False
    if "*" in pattern:
        return fnmatch.fnmatchcase(name, pattern)
    return f".{pattern}." in f".{name}."  # "self_attn", "mlp.gate": whole words of the name
