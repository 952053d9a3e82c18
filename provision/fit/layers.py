"""Which kind of attention and of feed-forward block each layer of a configuration has."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from provision.errors import UsageError

if TYPE_CHECKING:
    from provision.fit.architecture import Attention, FeedForward, Layer
    from provision.fit.keys import Keys

# Every how many layers one is global, where the configuration leaves it to the family's code (transformers).
_GLOBAL_EVERY = {"gemma2": 2, "gpt_oss": 2, "gemma3": 6, "gemma3_text": 6, "cohere2": 4, "llama4": 4, "llama4_text": 4}
# Families whose sliding_window key is not obeyed unless use_sliding_window says so.
_WINDOW_ONLY_IF_USED = ("qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "qwen2_vl", "qwen2_5_vl")
_BIASED = ("qwen2", "qwen2_moe", "qwen2_vl", "qwen2_5_vl", "gpt_oss")
_NORMED = ("qwen3", "qwen3_moe", "qwen3_next", "qwen3_vl", "gemma3", "gemma3_text", "olmo2", "glm4_moe", "minimax_m2")
_PATTERN = {"M": "mamba", "*": "attention", "-": "mlp", "E": "moe"}  # nemotron_h's hybrid_override_pattern


def layers(keys: Keys, model_type: str, count: int, hidden: int, *, gated: bool) -> tuple[Layer, ...]:
    """``count`` layers from the first to the last."""
    from provision.fit.architecture import Attention, FeedForward, Layer

    pattern = keys.text("hybrid_override_pattern") or _signs(keys)
    if pattern:
        unknown = set(pattern) - _PATTERN.keys()
        if unknown:
            raise UsageError(f"config.json: hybrid_override_pattern has {min(unknown)!r}; expected one of M * - E")
        found = []
        for sign in pattern:
            kind = _PATTERN[sign]
            attention = Attention(kind="none")
            if kind in ("mamba", "attention"):
                attention = _mamba(keys, hidden) if kind == "mamba" else _grouped(keys, model_type, hidden, "full", 0)
            block = FeedForward(gated=gated)
            if kind in ("mlp", "moe"):
                block = _feed_forward(keys, hidden, experts=kind == "moe", gated=gated)
            found.append(Layer(attention=attention, feed_forward=block))
        return tuple(found)
    blocks = keys.get("block_configs")
    if isinstance(blocks, list) and blocks:
        return tuple(_searched(keys, model_type, hidden, one) for one in blocks)
    kinds = _kinds(keys, model_type, count)
    cross = set(keys.get("cross_attention_layers", ()) or ())
    return tuple(
        Layer(
            attention=_attention(keys, model_type, hidden, "cross" if at in cross else kinds[at], at),
            feed_forward=_block(keys, hidden, at, experts=_has_experts(keys, at), gated=gated),
        )
        for at in range(count)
    )


def _signs(keys: Keys) -> str:
    """The pattern of a nemotron_h configuration that spells its layers out."""
    named = keys.get("layers_block_type")
    signs = {kind: sign for sign, kind in _PATTERN.items()}
    if keys.text("model_type") != "nemotron_h" or not isinstance(named, list):
        return ""
    return "".join(signs.get(str(one), "?") for one in named)


def _kinds(keys: Keys, model_type: str, count: int) -> list[str]:
    """The kind of every layer: said in ``layer_types``, or by an interval, or by the family."""
    named = keys.get("layer_types") or keys.get("layers_block_type") or keys.get("attn_type_list")
    if isinstance(named, list) and len(named) >= count:
        return [_named(one) for one in named[:count]]
    every = keys.whole("full_attention_interval", default=0)
    if every and keys.get("linear_num_value_heads"):
        return ["full" if (at + 1) % every == 0 else "linear" for at in range(count)]
    window = keys.get("sliding_window")
    used = keys.get("use_sliding_window", model_type not in _WINDOW_ONLY_IF_USED)
    every = keys.whole("sliding_window_pattern", "_sliding_window_pattern", default=_GLOBAL_EVERY.get(model_type, 0))
    if model_type.startswith("llama4") and (window := keys.get("attention_chunk_size")):
        plain = keys.get("no_rope_layers")
        if isinstance(plain, list) and len(plain) == count:
            return ["chunked" if one else "full" for one in plain]
        return ["full" if (at + 1) % every == 0 else "chunked" for at in range(count)]
    if not window or not used:
        return ["full"] * count
    if every:
        return ["full" if (at + 1) % every == 0 else "sliding" for at in range(count)]
    return ["sliding"] * count


def _named(one: Any) -> str:
    word = str(one)
    for kind in ("linear", "sliding", "chunked", "mamba"):
        if kind in word:
            return kind
    if word in ("0", "conv", "recurrent", "hybrid"):
        if word == "0":  # MiniMax-Text-01: 0 is lightning attention, 1 is softmax attention
            return "linear"
        raise UsageError(f"config.json: layers of type {word!r} are not known; memory cannot be forecast")
    return "full"


def _attention(keys: Keys, model_type: str, hidden: int, kind: str, at: int) -> Attention:
    from provision.fit.architecture import Attention

    if keys.get("compress_ratios"):
        ratios = keys.get("compress_ratios")
        if not isinstance(ratios, list) or not all(isinstance(one, int) and one >= 0 for one in ratios):
            raise UsageError("config.json: compress_ratios is no list of whole numbers")
        return Attention(
            kind="compressed",
            heads=keys.whole("num_attention_heads"),
            kv_heads=1,
            head_size=keys.whole("head_dim"),
            value_size=keys.whole("head_dim"),
            window=keys.whole("sliding_window"),
            q_rank=keys.whole("q_lora_rank"),
            rope_size=keys.whole("qk_rope_head_dim"),
            out_rank=keys.whole("o_lora_rank", default=0),
            out_groups=keys.whole("o_groups", default=1),
            ratio=ratios[at] if at < len(ratios) else 0,
            index_heads=keys.whole("index_n_heads", default=0),
            index_size=keys.whole("index_head_dim", default=0),
        )
    if keys.get("kv_lora_rank"):
        return Attention(
            kind="latent",
            heads=keys.whole("num_attention_heads"),
            kv_heads=1,
            head_size=keys.whole("qk_nope_head_dim"),
            value_size=keys.whole("v_head_dim"),
            q_rank=keys.whole("q_lora_rank", default=0),
            kv_rank=keys.whole("kv_lora_rank"),
            rope_size=keys.whole("qk_rope_head_dim"),
            index_heads=keys.whole("index_n_heads", default=0),
            index_size=keys.whole("index_head_dim", default=0),
        )
    if kind == "linear":
        return _linear(keys, hidden)
    if kind == "mamba":
        return _mamba(keys, hidden)
    window = keys.whole("attention_chunk_size" if kind == "chunked" else "sliding_window", default=0)
    made = _grouped(keys, model_type, hidden, kind, 0 if kind in ("full", "cross") else window)
    return _gemma(keys, made, at) if model_type.startswith(("gemma3n", "gemma4")) else made


def _gemma(keys: Keys, made: Attention, at: int) -> Attention:
    """Gemma 4's full layers have heads of their own size and number; the last layers may share an earlier one's cache.

    Where keys serve as values (attention_k_eq_v), engines still hold the matrix twice and cache both.
    """
    size = keys.whole("global_head_dim", default=made.head_size) if made.kind == "full" else made.head_size
    own = made.kind == "full" and bool(keys.get("attention_k_eq_v"))
    return dataclasses.replace(
        made,
        head_size=size,
        value_size=size,
        kv_heads=keys.whole("num_global_key_value_heads", default=made.kv_heads) if own else made.kv_heads,
        shares_cache=at >= keys.whole("num_hidden_layers") - keys.whole("num_kv_shared_layers", default=0),
    )


def _grouped(keys: Keys, model_type: str, hidden: int, kind: Any, window: int, kv_heads: int = 0) -> Attention:
    from provision.fit.architecture import Attention

    heads = keys.whole("num_attention_heads", "n_head", "num_heads")
    if heads < 1:
        raise UsageError("config.json: num_attention_heads is 0")
    if not kv_heads:
        one_head = 1 if keys.get("multi_query") is True else heads
        kv_heads = keys.whole("num_key_value_heads", "multi_query_group_num", "num_attention_groups", default=one_head)
    size = keys.whole("head_dim", "attention_head_dim", "kv_channels", default=hidden // heads)
    if not 0 < kv_heads <= heads or not size:
        raise UsageError(f"config.json: {kv_heads} key/value heads of {size} elements for {heads} heads make no sense")
    return Attention(
        kind=kind,
        heads=heads,
        kv_heads=kv_heads,
        head_size=size,
        value_size=size,
        window=window,
        bias=bool(keys.get("attention_bias", keys.get("qkv_bias", model_type in _BIASED))),
        normed=bool(keys.get("use_qk_norm", keys.get("qk_norm", model_type in _NORMED))),
        gated=bool(keys.get("attn_output_gate", model_type == "qwen3_next")),
    )


def _linear(keys: Keys, hidden: int) -> Attention:
    from provision.fit.architecture import Attention

    heads = keys.whole("linear_num_value_heads", "num_attention_heads")
    return Attention(
        kind="linear",
        heads=heads,
        kv_heads=heads,
        key_heads=keys.whole("linear_num_key_heads", default=heads),
        head_size=keys.whole("linear_key_head_dim", "head_dim", default=hidden // max(heads, 1)),
        value_size=keys.whole("linear_value_head_dim", "head_dim", default=hidden // max(heads, 1)),
        convolution=keys.whole("linear_conv_kernel_dim", default=0),
    )


def _mamba(keys: Keys, hidden: int) -> Attention:
    from provision.fit.architecture import Attention

    heads = keys.whole("mamba_num_heads", "mamba_n_heads")
    return Attention(
        kind="mamba",
        heads=heads,
        kv_heads=heads,
        head_size=keys.whole("mamba_head_dim", "mamba_d_head", default=2 * hidden // max(heads, 1)),
        groups=keys.whole("n_groups", "mamba_n_groups", default=1),
        state_size=keys.whole("ssm_state_size", "mamba_d_state", default=128),
        convolution=keys.whole("conv_kernel", "mamba_d_conv", default=4),
    )


def _has_experts(keys: Keys, at: int) -> bool:
    """Whether layer ``at`` has experts; False for a model that has none."""
    if not keys.whole("n_routed_experts", "num_experts", "num_local_experts", "moe_num_experts", default=0):
        return False
    if at < keys.whole("first_k_dense_replace", "moe_layer_start_index", default=0):
        return False
    chosen = keys.get("moe_layers")
    if isinstance(chosen, list) and chosen:
        return at in chosen
    often = keys.get("moe_layer_freq")
    if isinstance(often, list):
        return at < len(often) and bool(often[at])
    if at in (keys.get("mlp_only_layers", ()) or ()):
        return False
    step = keys.whole("decoder_sparse_step", "interleave_moe_layer_step", "moe_layer_interval", default=1)
    if step > 1:
        return (at + 1) % step == 0
    return not isinstance(often, int) or often <= 1 or at % often == 0


def _block(keys: Keys, hidden: int, at: int, *, experts: bool, gated: bool) -> FeedForward:
    found = _feed_forward(keys, hidden, experts=experts, gated=gated)
    if experts and keys.get("enable_moe_block"):  # Gemma 4: a dense block beside the experts
        return dataclasses.replace(found, size=keys.whole("intermediate_size"))
    shared = keys.whole("num_kv_shared_layers", default=0)
    if keys.get("use_double_wide_mlp") and at >= keys.whole("num_hidden_layers") - shared:
        return dataclasses.replace(found, size=2 * found.size)
    return found


def _feed_forward(keys: Keys, hidden: int, *, experts: bool, gated: bool) -> FeedForward:
    from provision.fit.architecture import FeedForward

    if not experts:
        size = keys.whole(
            "intermediate_size_mlp", "intermediate_size", "ffn_hidden_size", "n_inner", default=4 * hidden
        )
        return FeedForward(size=size, gated=gated)
    each = keys.whole("moe_intermediate_size", "expert_ffn_hidden_size", "intermediate_size")
    shared = keys.whole(
        "moe_shared_expert_intermediate_size", "shared_expert_intermediate_size", "shared_intermediate_size", default=0
    )
    if not shared:
        shared = each * keys.whole(
            "n_shared_experts", "num_shared_experts", "num_shared_expert", "moe_num_shared_experts", default=0
        )
    if keys.text("model_type").startswith("llama4"):
        shared = each
    return FeedForward(
        experts=keys.whole("n_routed_experts", "num_experts", "num_local_experts", "moe_num_experts"),
        active=keys.whole(
            "num_experts_per_tok",
            "moe_topk",
            "moe_k",
            "num_selected_experts",
            "num_experts_per_token",
            "top_k_experts",
            default=1,
        ),
        expert_size=each,
        latent_size=keys.whole("moe_latent_size", default=0),
        shared_size=shared,
        gated=gated,
        bias=keys.text("model_type") == "gpt_oss",
    )


def _searched(keys: Keys, model_type: str, hidden: int, one: Any) -> Layer:
    """A layer of a model found by architecture search (Llama-Nemotron): each says what it kept."""
    from provision.fit.architecture import Attention, FeedForward, Layer

    try:
        given, block = one["attention"], one["ffn"]
        heads = keys.whole("num_attention_heads")
        attention = Attention(kind="none")
        if given.get("n_heads_in_group"):
            attention = _grouped(keys, model_type, hidden, "full", 0, kv_heads=heads // int(given["n_heads_in_group"]))
        size = int(2 * float(block["ffn_mult"]) * hidden / 3) if block.get("ffn_mult") else 0
        return Layer(attention=attention, feed_forward=FeedForward(size=-(-size // 256) * 256))
    except (KeyError, TypeError, ValueError, ZeroDivisionError, AttributeError) as error:
        raise UsageError(f"config.json: block_configs is not understood ({error})") from None
