"""The KV cache: bytes of a token, what a request of a given length needs, and how many tokens a pool holds.

vLLM divides the pool into blocks of one size and gives each group of layers of one kind blocks of its own
(vllm/v1/core/kv_cache_utils.py and kv_cache_interface.py, read at 0.11.2, 0.20.0 and 0.33.0). Layers that keep a state
instead of tokens (gated delta net, Mamba) make the block so long that one block holds a state; four reports of Qwen 3.5
to 3.8 (club-3090 issues 295, 612 and 642, talos PR 1995) come out to the token that way. SGLang counts tokens.
"""

from __future__ import annotations

import math
import re

from provision.errors import UsageError
from provision.fit.accounting import Accounting
from provision.fit.architecture import Architecture, Attention
from provision.fit.parallel import Parallel, stages
from provision.record import record

_TOKEN_KINDS = ("full", "sliding", "chunked", "latent", "compressed", "cross")
_STATE_ELEMENT_BYTES = 4  # vLLM keeps the recurrent state in float32 (mamba_ssm_cache_dtype of these families)
# vllm/v1/attention/backends/mla: fp8_ds_mla, 512 bytes FP8 + 16 of scales + 128 of rope in 16 bit; the indexer's key is
# 128 bytes FP8 and a float32. DeepSeek V4: 448 FP8 + 128 rope + 8 scale for each state.
_SPARSE_FP8, _INDEX_SCALE, _V4_STATE = 656, 4, 584

# Pages have one size. On two H200 DeepSeek-V4-Flash prints 8.30 requests of 262,144 tokens in 32.08 GiB (public file
# 63396953296), on AMD cards 9.76 of 256,000 in 37.93 (60215495369), on eight B200 20.43 of 1M (vllm recipes issue 762): with
# this, 8.0, 9.5 and 21.
_V4_PADDING = 1.24

_ELEMENTS = (  # what engines call them, and bytes; None: the model's own
    (r"auto", None),
    (r"(?:fp8|int8|float8|e4m3|e5m2|q8)[\w.]*", 1.0),
    (r"nvfp4[\w.]*", 0.5625),
    (r"(?:fp4|int4|q4|mxfp4)[\w.]*", 0.5),
    (r"(?:torch\.)?(?:bf16|bfloat16|fp16|float16|half)", 2.0),
    (r"(?:torch\.)?(?:float32|float)", 4.0),
)


@record
class Cache:
    """The cache of one GPU of the fullest stage. ``bytes_per_token`` is what one token more costs in a long request."""

    bytes_per_token: float
    block: int  # tokens of a block
    block_bytes: int  # of one block in every layer of its group
    groups: tuple[tuple[str, int, int, int], ...]  # (kind, window, groups of layers of that kind, tokens of its block)
    state_blocks: int  # blocks that a request keeps in each group of states
    batched: int  # tokens of one step, for which a window needs room too
    count: str  # what the engine calls tokens: see ``Accounting``
    fixed_bytes: int = 0  # that a request needs besides, whatever its length

    def request_blocks(self, length: int) -> int:
        """Blocks that one request of ``length`` tokens needs."""
        found = 0
        for kind, window, groups, block in self.groups:
            whole = math.ceil(length / block)
            if kind == "state":
                need = self.state_blocks
            elif kind == "sliding":
                need = min(whole, math.ceil((min(window - 1 + self.batched, length)) / block) + 1)
            elif kind == "chunked":
                need = min(whole, math.ceil(min(window + self.batched, length) / block))
            else:
                need = whole
            found += groups * need
        return found + math.ceil(self.fixed_bytes / self.block_bytes)

    def request_bytes(self, length: int) -> int:
        """Bytes that one request of ``length`` tokens needs."""
        return self.request_blocks(length) * self.block_bytes

    def blocks(self, pool: int) -> int:
        return max(pool, 0) // self.block_bytes

    def tokens(self, pool: int, length: int) -> int:
        """Tokens that ``pool`` bytes hold, as the engine prints them for requests of ``length`` tokens."""
        blocks = self.blocks(pool)
        groups = sum(count for _, _, count, _ in self.groups)
        single = groups == 1 and self.groups[0][0] == "full" and not self.fixed_bytes
        if self.count in ("pool", "blocks") or single:
            return blocks * self.block
        if self.count == "concurrency":
            return int(blocks / self.request_blocks(length) * length)
        return blocks // groups * self.block

    def concurrency(self, pool: int, length: int) -> float:
        """Requests of ``length`` tokens that ``pool`` holds at once."""
        return self.blocks(pool) / self.request_blocks(length)

    def longest(self, pool: int, most: int) -> int:
        """The longest request that ``pool`` holds, up to ``most`` tokens; 0 where not one block is left."""
        low, high = 0, most
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.request_blocks(middle) <= self.blocks(pool) else (low, middle - 1)
        return low


def element_bytes(kv_dtype: str, model_bytes: int) -> float:
    """Bytes of one cached element: ``auto`` is the model's own. Raises ``UsageError`` for a type that is not known."""
    word = kv_dtype.strip().lower().split("(")[0].strip()
    for pattern, size in _ELEMENTS:
        if re.fullmatch(pattern, word):
            return size or float(min(model_bytes, 2))
    raise UsageError(f"--kv-cache-dtype {kv_dtype[:40]!r} is not known; expected auto, bfloat16, fp8 or the like")


def token_bytes(one: Attention, tp: int, element: float) -> float:
    """Bytes that a token takes in one layer on one GPU; 0 for a layer that keeps no tokens."""
    if one.kind == "latent":
        if one.index_heads:
            return (
                (one.kv_rank + one.rope_size) * element + one.index_size + _INDEX_SCALE
                if element >= 2
                else _SPARSE_FP8 + one.index_size + _INDEX_SCALE
            )
        return (one.kv_rank + one.rope_size) * element
    if one.kind == "compressed":
        index = one.index_size + _INDEX_SCALE if one.ratio == 4 else 0
        return (_V4_STATE + index) / one.ratio if one.ratio else 0.0
    if one.kind in ("linear", "mamba", "none") or one.shares_cache:
        return 0.0
    return math.ceil(one.kv_heads / tp) * (one.head_size + one.value_size) * element


def step_bytes(one: Attention) -> int:
    """Bytes that a request keeps in one layer of DeepSeek V4 for every token of a step: its window, and the compressor's
    float32 values and gates, both twice where windows overlap (ratio 4).
    """
    if one.kind != "compressed":
        return 0
    wide = one.head_size + (one.index_size if one.ratio == 4 and one.index_heads else 0)
    return _V4_STATE + (2 * (2 if one.ratio == 4 else 1) * wide * 4 if one.ratio else 0)


def state_bytes(one: Attention, tp: int, drafts: int) -> int:
    """Bytes of the state that a request keeps in one layer on one GPU, whatever its length."""
    if one.kind == "linear":
        recurrent = one.kv_heads // tp * one.head_size * one.value_size
        channels = (2 * one.key_heads * one.head_size + one.kv_heads * one.value_size) // tp
    elif one.kind == "mamba":
        recurrent = one.heads // tp * one.head_size * one.state_size
        channels = one.heads * one.head_size // tp + 2 * max(one.groups // tp, 1) * one.state_size
    else:
        return 0
    width = max(one.convolution - 1, 0) + drafts
    return recurrent * _STATE_ELEMENT_BYTES + channels * width * 2


def cache(
    model: Architecture, parallel: Parallel, kv_dtype: str, engine: Accounting, *, batched: int, drafts: int = 0
) -> Cache:
    """The cache of the stage with the most layers."""
    stage = max(stages(len(model.layers), parallel.pp), key=len)
    held = [model.layers[at].attention for at in stage]
    element = element_bytes(kv_dtype, model.element_bytes)
    tokens = [token_bytes(one, parallel.tp, element) for one in held]
    growing = sum(size for one, size in zip(held, tokens, strict=True) if one.kind not in ("sliding", "chunked"))
    if not any(one.kind in ("full", "latent", "compressed") for one in held):
        growing = sum(tokens)
    kinds: dict[tuple[str, int], list[float]] = {}
    states = []
    for one, size in zip(held, tokens, strict=True):
        if one.kind in ("linear", "mamba"):
            states.append(state_bytes(one, parallel.tp, drafts))
        elif size:
            windowed = one.kind in ("sliding", "chunked") and engine.sliding != "full"
            kinds.setdefault((one.kind if windowed else "full", one.window if windowed else 0), []).append(size)
    if drafts and kinds.get(("full", 0)):
        kinds[("full", 0)] += kinds[("full", 0)][-1:] * model.draft_layers
    if engine.counts_tokens:
        return _pool(kinds, bool(states), growing, batched)
    if len(kinds) == 1 and not states:
        (kind, window), sizes = next(iter(kinds.items()))
        return Cache(
            bytes_per_token=growing,
            block=engine.block,
            block_bytes=max(round(sum(sizes) * engine.block), 1),
            groups=((kind, window, 1, engine.block),),
            state_blocks=0,
            batched=batched,
            count=engine.count,
            fixed_bytes=round(_V4_PADDING * batched * sum(map(step_bytes, held))),
        )
    if not kinds and not states:
        raise UsageError("config.json: no layer keeps anything of a token; expected a model that generates text")
    largest = max((max(sizes) for sizes in kinds.values()), default=0.0)
    block = engine.block
    if states:
        block = max(math.ceil(max(states) / max(largest, 1) / block) * block, block) if largest else block
    page = math.ceil(block * largest) if largest else max(states)
    counts = [len(sizes) for sizes in kinds.values()] + ([len(states)] if states else [])
    size = max(counts) if max(counts) < min(counts) * 1.25 else min(counts)
    # All blocks have one size in bytes: layers with smaller tokens get blocks of more of them (Gemma 4's full layers 32).
    groups = [
        (kind, window, math.ceil(len(sizes) / size), block * max(int(largest // max(sizes)), 1))
        for (kind, window), sizes in kinds.items()
    ]
    if states:
        groups.append(("state", 0, math.ceil(len(states) / size), block))
    return Cache(
        bytes_per_token=growing,
        block=block,
        block_bytes=page * size,
        groups=tuple(groups),
        state_blocks=engine.state_blocks + drafts,
        batched=batched,
        count=engine.count,
    )


def _pool(kinds: dict[tuple[str, int], list[float]], states: bool, growing: float, batched: int) -> Cache:
    """SGLang's pool: one cell a token; windowed layers have cells for 0.8 of the tokens, states take 9 of 19 parts."""
    whole = sum(sum(sizes) for (kind, _), sizes in kinds.items() if kind == "full")
    windowed = sum(sum(sizes) for (kind, _), sizes in kinds.items() if kind != "full")
    cell = whole + (0.8 if whole else 1.0) * windowed
    if states:
        cell *= 19 / 10
    return Cache(
        bytes_per_token=growing or cell,
        block=1,
        block_bytes=max(round(cell), 1),
        groups=(("full", 0, 1, 1),),
        state_blocks=0,
        batched=batched,
        count="pool",
    )
