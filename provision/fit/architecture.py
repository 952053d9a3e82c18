"""What a model's published ``config.json`` says about its layers: the shapes that memory depends on.

The names of the keys differ between families; what they mean does not. ``architecture`` reads them into one record, from
the transformers configuration classes of DeepSeek V2 to V4, Llama 2 to 4, Qwen 1.5 to 3.8, Gemma, Mistral, Mixtral,
GLM, gpt-oss, MiniMax, Kimi, Phi and Nemotron.
"""

from __future__ import annotations

from typing import Any, Literal

from provision.errors import UsageError
from provision.fit import layers as layering
from provision.fit.keys import Keys
from provision.record import record

# Families whose feed-forward block has two matrices (up, down) instead of three (gate, up, down).
_UNGATED = (
    "nemotron",
    "nemotron_h",
    "starcoder2",
    "gpt2",
    "gpt_neox",
    "gpt_bigcode",
    "falcon",
    "phi",
    "opt",
    "bloom",
    "mpt",
)

# Image towers whose feed-forward block has a gate (transformers' modelling files).
_GATED_TOWERS = ("qwen2_5_vl", "pixtral", "gemma4_vision")

# The share of a head that positions turn, where a configuration does not say it (transformers' configuration classes).
_TURNING = {"qwen3_next": 0.25, "qwen3_5": 0.25, "qwen3_5_moe": 0.25, "glm4_moe": 0.5, "glm4": 0.5, "minimax_m2": 0.5}

# Tokens of the largest image of Qwen2-VL to Qwen3.8: 12,845,056 pixels of 28 x 28 a token, 16,777,216 of 32 x 32
# (preprocessor_config.json).
_LARGEST_IMAGE = 16384


@record
class Attention:
    """How one layer looks back, and what its tensors are. Sizes in elements; a rank of 0 means no such matrix.

    ``full`` keeps every token, ``sliding`` the last ``window``, ``chunked`` those of the current chunk of ``window``;
    ``latent`` (DeepSeek's MLA) keeps ``kv_rank + rope_size`` elements a token whatever the heads; ``compressed``
    (DeepSeek V4) keeps one state for every ``ratio`` tokens and a window; ``linear`` (gated delta net) and ``mamba``
    keep a state a request whatever its length; ``cross`` looks at an image, ``none`` is not there.
    """

    kind: Literal["full", "sliding", "chunked", "latent", "compressed", "linear", "mamba", "cross", "none"]
    heads: int = 0
    kv_heads: int = 0
    head_size: int = 0
    value_size: int = 0  # of a head of V; the same as head_size but for latent attention
    window: int = 0
    bias: bool = False
    normed: bool = False  # Q and K are normalised
    gated: bool = False  # Q brings a gate of its own size
    q_rank: int = 0
    kv_rank: int = 0
    rope_size: int = 0
    out_rank: int = 0
    out_groups: int = 0
    ratio: int = 0
    index_heads: int = 0  # the indexer of sparse attention
    index_size: int = 0
    key_heads: int = 0  # linear attention: heads of K; ``kv_heads`` are those of V
    convolution: int = 0  # width of the short convolution before a state
    state_size: int = 0
    groups: int = 0  # mamba
    shares_cache: bool = False  # uses the keys and values of a layer before it (Gemma 3n and 4)


@record
class FeedForward:
    """The block after attention. ``size`` is the width of a dense block, ``expert_size`` that of one expert."""

    size: int = 0
    experts: int = 0
    active: int = 0  # experts a token goes through
    expert_size: int = 0
    latent_size: int = 0  # experts work on so many elements instead of the hidden size, projected there and back
    shared_size: int = 0  # of all shared experts together
    gated: bool = True
    bias: bool = False


@record
class Layer:
    attention: Attention
    feed_forward: FeedForward


@record
class Vision:
    """An image tower: a transformer of ``layers`` over patches, and what joins it to the language model."""

    layers: int
    hidden: int
    intermediate: int
    merged: int  # elements that enter the projector for one token
    mergers: int  # projectors: Qwen3-VL has one more for every layer whose features go deep into the language model
    patch: int  # elements of one patch
    merge: int  # patches on a side that become one token
    tokens: int  # of the largest image
    matrices: int = 2  # of its feed-forward block: 3 where that has a gate


@record
class Architecture:
    """One model. ``context`` in tokens; None where the configuration does not say it."""

    model_type: str
    hidden: int
    vocabulary: int
    tied: bool  # the output head is the embedding
    layers: tuple[Layer, ...]
    draft_layers: int  # of multi-token prediction: in the checkpoint, loaded only for speculative decoding
    context: int | None
    element_bytes: int  # of an unquantised weight
    vision: Vision | None
    streams: int = 1  # residual streams (hyper-connections)
    layer_inputs: tuple[int, int] = (0, 0)  # a second embedding (Gemma 3n and 4): its vocabulary, elements a layer
    rotary: int = 0  # elements of the table of sines and cosines that engines keep for every position


def architecture(config: dict[str, Any]) -> Architecture:
    """Read a ``config.json``. Raises ``UsageError`` naming the key that is missing or makes no sense."""
    text: dict[str, Any] = next(
        (config[k] for k in ("text_config", "llm_config", "language_config") if isinstance(config.get(k), dict)), {}
    )
    keys = Keys({**{k: v for k, v in config.items() if k != "vision_config"}, **text})
    model_type = keys.text("model_type") or _type_of(keys)
    hidden = keys.whole("hidden_size", "n_embd", "d_model")
    spelt = keys.get("layers_block_type")
    listed = len(spelt) if isinstance(spelt, list) else None
    count = keys.whole("num_hidden_layers", "n_layer", "n_layers", "num_layers", default=listed)
    if not 0 < count <= 1000:
        raise UsageError(f"config.json: num_hidden_layers is {count}; a model has 1 to 1000 layers")
    return Architecture(
        model_type=model_type,
        hidden=hidden,
        vocabulary=keys.whole("vocab_size", "padded_vocab_size"),
        tied=bool(keys.get("tie_word_embeddings", model_type.startswith(("gemma", "cohere")))),
        layers=layering.layers(keys, model_type, count, hidden, gated=model_type not in _UNGATED),
        draft_layers=keys.whole("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_modules", default=0),
        context=keys.whole("max_position_embeddings", "n_positions", "seq_length", "max_seq_len", default=0) or None,
        element_bytes=_element_bytes(
            str(
                config.get("dtype")
                or config.get("torch_dtype")
                or keys.get("dtype")
                or keys.get("torch_dtype")
                or "bfloat16"
            )
        ),
        vision=_vision(config, model_type),
        streams=keys.whole("hc_mult", default=1),
        layer_inputs=_layer_inputs(keys),
        rotary=_rotary(keys),
    )


def _layer_inputs(keys: Keys) -> tuple[int, int]:
    each = keys.whole("hidden_size_per_layer_input", default=0)
    return (keys.whole("vocab_size_per_layer_input", "vocab_size"), each) if each else (0, 0)


def _rotary(keys: Keys) -> int:
    """Of one table, or of two where windowed layers turn at another speed (Gemma 3 and 4)."""
    positions = keys.whole("max_position_embeddings", "seq_length", default=0)
    heads = max(keys.whole("num_attention_heads", "n_head", default=1), 1)
    size = keys.whole("qk_rope_head_dim", "head_dim", default=keys.whole("hidden_size", "n_embd", default=0) // heads)
    turning = keys.get("rope_parameters")
    family = _TURNING.get(keys.text("model_type").removesuffix("_text"), 1)
    part = turning.get("partial_rotary_factor") if isinstance(turning, dict) else None
    part = keys.get("partial_rotary_factor", family if part is None else part)
    tables = 2 if keys.get("rope_local_base_freq") or keys.get("global_head_dim") else 1
    return int(tables * positions * size * (part if isinstance(part, (int, float)) and 0 < part <= 1 else 1))


def _type_of(keys: Keys) -> str:
    names = keys.get("architectures")
    return str(names[0]).lower().removesuffix("forcausallm") if isinstance(names, list) and names else ""


def _element_bytes(dtype: str) -> int:
    name = dtype.removeprefix("torch.")
    return {"float32": 4, "float": 4, "float64": 8}.get(name, 2)


def _vision(config: dict[str, Any], model_type: str) -> Vision | None:
    given = config.get("vision_config")
    if not isinstance(given, dict):
        return None
    keys = Keys(given)
    width = keys.whole("hidden_size", "embed_dim", "width", default=0)
    depth = keys.whole("num_hidden_layers", "depth", "layers", default=0) + keys.whole("num_global_layers", default=0)
    if not width or not depth:
        return None
    if isinstance(given.get("embed_dim"), int) and keys.get("depth"):  # Qwen2-VL: hidden_size is the language model's
        width = keys.whole("embed_dim")
    merge = keys.whole("spatial_merge_size", default=1)
    patch = keys.whole("patch_size", default=14) or 14
    side = keys.whole("image_size", default=0) // patch
    tokens = max(side * side, 1)
    if merge > 1 and not side:  # any resolution, up to what the family's image processor allows
        tokens = _LARGEST_IMAGE
    elif text_tokens := config.get("mm_tokens_per_image"):
        tokens, merge = int(text_tokens), max(int((side * side / int(text_tokens)) ** 0.5), 1)
    return Vision(
        layers=depth,
        hidden=width,
        intermediate=keys.whole("intermediate_size", default=int(width * float(keys.get("mlp_ratio", 4)))),
        merged=keys.whole("vision_output_dim", default=width * merge * merge),
        mergers=1 + len(keys.get("deepstack_visual_indexes", ()) or ()),
        merge=merge,
        tokens=tokens,
        matrices=3 if keys.text("model_type") in _GATED_TOWERS or model_type in _GATED_TOWERS else 2,
        patch=3 * patch * patch * keys.whole("temporal_patch_size", default=1),
    )
