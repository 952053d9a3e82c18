"""A checkpoint's tensors as weights: what each one is, read from its name, with the bytes it really has."""

from __future__ import annotations

import re

from provision.fit.architecture import Architecture
from provision.fit.checkpoint import Checkpoint, Tensor
from provision.fit.weights import BACK, FRONT, Weight, weights

_LAYER = re.compile(r"(?:^|\.)(?:layers?|h|blk|blocks)\.(\d+)\.")
_VISION = re.compile(
    r"(?:^|\.)(?:visual|vision\w*|image_newline|multi_modal_projector|mm_projector|patch_embed\w*|v\.blk)\."
)
_DRAFT = re.compile(r"(?:^|\.)(?:mtp|nextn|draft)\w*\.")
_HEAD = re.compile(r"(?:^|\.)(?:lm_head|output|embed_out)\.")
_EMBEDDING = re.compile(r"(?:^|\.)(?:embed_tokens|wte|token_embd|word_embeddings|tok_embeddings|embed_in)\.")
_EXPERT = re.compile(r"(?:^|\.)(?:experts|ffn_\w+_exps)\.")
_ALONE = re.compile(
    r"(?:q_a_proj|kv_a_proj\w*|attn_q_a|attn_kv_a\w*|norm\w*|router|ffn_gate_inp|(?:mlp|moe|block_sparse_moe)\.gate|indexer\S*)(?:\.|$)"
)
_KV = re.compile(r"(?:k_proj|v_proj|attn_k|attn_v)\.")
_COLUMNS = re.compile(r"(?:o_proj|down_proj|out_proj|attn_output|ffn_down\w*|w2|wo|dense_4h_to_h|c_proj)\.")


def from_checkpoint(read: Checkpoint, model: Architecture) -> list[Weight]:
    """Every tensor of ``read`` as a ``Weight`` with its stored bytes, and what engines derive from them."""
    kv_heads = max((layer.attention.kv_heads for layer in model.layers if layer.attention.kind == "full"), default=1)
    found = [_weight(one, model, kv_heads) for one in read.tensors]
    return found + [one for one in weights(model) if one.derived]


def _weight(one: Tensor, model: Architecture, kv_heads: int) -> Weight:
    name = f"{one.name}."
    layered = _LAYER.search(name)
    layer = int(layered.group(1)) if layered else BACK
    vision = bool(_VISION.search(name))
    draft = not vision and (bool(_DRAFT.search(name)) or layer >= len(model.layers))
    if vision or _EMBEDDING.search(name):
        layer = FRONT
    elif draft:
        layer = BACK
    elements = max(_product(one.shape), 1)
    matrix = len(one.shape) > 1
    columns = one.shape[-1] if matrix else 1
    kind, split = _kind(name, vision, matrix)
    return Weight(
        kind=kind,  # type: ignore[arg-type]
        rows=max(elements // max(columns, 1), 1),
        columns=max(columns, 1),
        layer=layer,
        split=split,  # type: ignore[arg-type]
        kv_heads=kv_heads,
        inner="rows" if kind == "expert" else "",
        stored=one.bytes / elements,
        draft=draft,
    )


def _kind(name: str, vision: bool, matrix: bool) -> tuple[str, str]:
    if _EMBEDDING.search(name):
        return "embedding", "vocabulary"
    if _HEAD.search(name) and ".layers." not in name and "blk." not in name:
        return "head", "vocabulary"
    if _EXPERT.search(name):
        return "expert", "expert"
    if _ALONE.search(name):
        return ("linear" if "proj" in name or "_a." in name else "router"), "none"
    if vision:
        return "vision", "rows" if matrix else "none"
    if not matrix:
        return "small", "none"
    return "linear", "kv" if _KV.search(name) else "columns" if _COLUMNS.search(name) else "rows"


def _product(shape: tuple[int, ...]) -> int:
    found = 1
    for size in shape:
        found *= size
    return found
