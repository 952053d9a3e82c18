"""A GGUF file's key-values under the names that config.json has for them.

Source: gguf-py's ``constants.py`` (Keys) and llama.cpp's ``convert_hf_to_gguf.py``, which writes the one from the other
(https://github.com/ggml-org/llama.cpp, read 2026-11-24).
"""

from __future__ import annotations

from typing import Any

from provision.fit.gguf import Header

# behind "<architecture>."; where several keys give one name, the first that is there counts
_NAMES = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "vocab_size": "vocab_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.value_length": "v_head_dim",
    "attention.kv_lora_rank": "kv_lora_rank",
    "attention.q_lora_rank": "q_lora_rank",
    "attention.sliding_window": "sliding_window",
    "attention.sliding_window_pattern": "sliding_window_pattern",
    "attention.shared_kv_layers": "num_kv_shared_layers",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.indexer.head_count": "index_n_heads",
    "attention.indexer.key_length": "index_head_dim",
    "attention.indexer.top_k": "index_topk",
    "expert_count": "n_routed_experts",
    "expert_used_count": "num_experts_per_tok",
    "expert_feed_forward_length": "moe_intermediate_size",
    "expert_shared_count": "n_shared_experts",
    "expert_shared_feed_forward_length": "shared_expert_intermediate_size",
    "leading_dense_block_count": "first_k_dense_replace",
    "nextn_predict_layers": "num_nextn_predict_layers",
    "full_attention_interval": "full_attention_interval",
    "rope.dimension_count": "rotary_dim",
    "rope.freq_base": "rope_theta",
}


def config(header: Header) -> dict[str, Any]:
    """What config.json would say. A key of another kind than a number, or a list of numbers, is left out.

    With latent attention (``kv_lora_rank``) the head's lengths become ``qk_rope_head_dim``, ``qk_nope_head_dim`` and
    ``v_head_dim``, and ``num_key_value_heads`` is the number of heads, as DeepSeek's config.json has it: files since 2025
    store one head of the latent's length and keep the real lengths in ``key_length_mla`` and ``value_length_mla``.
    """
    architecture = header.values.get("general.architecture")
    if not isinstance(architecture, str):
        return {}
    told = {
        key.removeprefix(f"{architecture}."): value
        for key, value in header.values.items()
        if key.startswith(f"{architecture}.") and not isinstance(value, str)
    }
    found: dict[str, Any] = {"model_type": architecture}
    found |= {ours: told[theirs] for theirs, ours in _NAMES.items() if theirs in told}
    if "vocab_size" not in found and "tokenizer.ggml.tokens" in header.lengths:
        found["vocab_size"] = header.lengths["tokenizer.ggml.tokens"]
    if "kv_lora_rank" in found:
        found |= _latent(told, found.pop("head_dim", None), found.get("v_head_dim"))
        found["num_key_value_heads"] = found.get("num_attention_heads")
    return {name: value for name, value in found.items() if value is not None}


def _latent(told: dict[str, Any], key: Any, value: Any) -> dict[str, Any]:
    """The lengths of a head with latent attention; None for what the file does not tell."""
    key = told.get("attention.key_length_mla", key)
    rope = told.get("rope.dimension_count")
    both = type(key) is int and type(rope) is int and key >= rope
    return {
        "qk_rope_head_dim": rope,
        "qk_nope_head_dim": key - rope if both else None,
        "v_head_dim": told.get("attention.value_length_mla", value),
    }
