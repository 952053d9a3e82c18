"""What a card holds besides weights and cache: activations, what lies outside torch, CUDA graphs.

None of these can be read before the engine runs, so each is an estimate with a range. The terms are those of the profiling
run that vLLM sizes its cache with: one step of ``batched`` tokens, then sampling for ``seqs`` requests.
"""

from __future__ import annotations

from provision.fit.accounting import Accounting
from provision.fit.architecture import Architecture, Attention, FeedForward, Vision
from provision.fit.parallel import Parallel
from provision.record import record

# Bytes a logit at the peak of top-k/top-p sampling: llm-d's H100 table prints activation peaks of 4.76 GiB (Llama-3.1-8B,
# vocabulary 128,256) and 7.38 GiB (gpt-oss-20b, 201,088) at 1,024 requests: 38.9 and 38.5 bytes. The parts: 16-bit and
# float32 logits, sorted values and 64-bit indices with their workspace, softmax, cumulated sum.
SORTED_BYTES = 38.7
# Since vLLM 0.17 a kernel masks the logits where they are (v1/sample/ops/topk_topp_triton.py), from 8 requests on: 16-bit
# and float32 logits, softmax and noise are 14 bytes; starts of Llama-3.1-8B with 256 requests (A100, RTX A6000) and 1,024
# (H100 NVL) leave 16 to 17 for all that is not weights and cache, Qwen2.5-7B on an L4 13 (public files 53366851321,
# 60080233402).
MASKED_BYTES = 15.5
# Buffers of hidden size that live at once in a layer. vllm issue 10517 prints 2.07 GiB for a step of 20,000 tokens of
# Llama-3.1-8B and 2.99 for 29,000: 110,600 bytes a token, which are those of the feed-forward block and three of these.
_RESIDUALS = 3
# llm-d's table: 0.13 GiB on one H100; vllm issues 12126 (0.16), 15815 (0.30, TP 2), 14447 (0.20, 16 GPUs).
_NON_TORCH, _NON_TORCH_PARALLEL = int(0.13 * 2**30), int(0.30 * 2**30)
# vLLM before 0.8: 0.35 GiB (issue 10517), 0.44 (issue 10360), 0.26 (public file 5773335890), 0.05 (weclone issue 101).
_NON_TORCH_V0 = int(0.28 * 2**30)

# Before the first graph: what its capture itself allocates. 0.26 GiB for 5 graphs, 0.35 for 9, 0.53 for the 86 of
# Qwen2.5-7B (public files 56816929356, 65863227652 and 54570340937, vLLM 0.20 and newer).
_GRAPH_FIRST = 0.15 * 2**30
_STATE_FIRST, _STATE_TOKEN, _STATE_WIDTH = 0.45 * 2**30, 0.8 * 2**30 / 8192, 6144
_GRAPH_LAYER = 0.2 * 2**20  # a size and layer: gpt-oss-20b's 0.39 GiB are of 83 sizes and 24 layers


@record
class Range:
    """Bytes: the least, the likely and the most."""

    low: int
    likely: int
    high: int

    @classmethod
    def given(cls, gib: float) -> Range:
        """A measured value, in GiB."""
        return cls(low=int(gib * 2**30), likely=int(gib * 2**30), high=int(gib * 2**30))

    @classmethod
    def around(cls, likely: float, low: float, high: float) -> Range:
        """``likely`` bytes, from ``low`` to ``high`` times as much."""
        return cls(low=int(likely * low), likely=int(likely), high=int(likely * high))


def activation(model: Architecture, parallel: Parallel, engine: Accounting, *, batched: int, seqs: int) -> Range:
    """The peak of one profiling step.

    An engine that counts what the device has lost (``consumed``) pays for the image tower's blocks while the language
    model's own step is at its peak: vllm issue 52872 prints 2.21 GiB for 2,048 tokens and 2.84 for 8,192 on one RTX 5090,
    2.0 and 107 KB a token, which are the tower's and those of the feed-forward block alone.
    """
    residuals = 0 if engine.consumed else _RESIDUALS
    kinds = {(one.attention, one.feed_forward) for one in model.layers}
    step = max((_layer(model, *kind, parallel, batched, residuals) for kind in kinds), default=0.0)
    sampled = min(seqs, batched)
    sampling = (SORTED_BYTES if engine.sorts or sampled < 8 else MASKED_BYTES) * sampled * model.vocabulary
    if model.vision is None:
        return Range.around(max(step, sampling), 0.7, 1.5)
    pictures = _pictures(model.vision, model.hidden, parallel.tp, batched, seqs)
    return Range.around(max(pictures + step if engine.consumed else max(step, pictures), sampling), 0.7, 4.0)


def _pictures(tower: Vision, hidden: int, tp: int, batched: int, seqs: int) -> float:
    """The image tower's own profiling step: as many of the largest images as the encoder's budget of tokens holds.

    vLLM's budget is ``batched`` tokens, or one image where that has more. The tower's matrices are divided as the language
    model's. Checked: Qwen3.6-27B in int4 on two RTX 3090 prints 11.05 GiB of cache (club-3090 issue 642, 11.1 here).
    """
    images = max(1, min(batched // max(tower.tokens, 1), seqs))
    patches = images * tower.tokens * tower.merge * tower.merge
    split = (3 * tower.hidden + 2 * tower.intermediate) / tp
    return 2.0 * patches * (3 * tower.hidden + split) + 2.0 * images * tower.tokens * hidden


def _layer(
    model: Architecture, attention: Attention, block: FeedForward, parallel: Parallel, batched: int, residuals: int
) -> float:
    heads = -(-attention.heads // parallel.tp)
    wide = heads * max(attention.head_size + attention.rope_size, attention.value_size)
    keys = 2 * -(-attention.kv_heads // parallel.tp) * max(attention.head_size, 1)
    ups = 3 if block.gated else 2
    inner = ups * block.size / parallel.tp
    if block.experts:
        # each token is copied to its experts, and their answers are summed
        inner = (
            block.active * (ups * block.expert_size / parallel.tp + model.hidden)
            + ups * block.shared_size / parallel.tp
        )
    residuals += 2 * model.streams if model.streams > 1 else 0
    return 2.0 * batched * (residuals * model.hidden + max(2 * wide + keys, inner))


def non_torch(parallel: Parallel, engine: Accounting) -> Range:
    """CUDA's context beyond what was there at start, communication buffers, libraries."""
    alone = _NON_TORCH_V0 if engine.first_engine else _NON_TORCH
    return Range.around(alone if parallel.tp * parallel.pp == 1 else _NON_TORCH_PARALLEL, 0.4, 3.0)


def graphs(model: Architecture, parallel: Parallel, engine: Accounting, batched: int) -> Range:
    """CUDA graphs of the captured batch sizes: 0.39 GiB for gpt-oss-20b, 0.64 for Qwen2.5-7B, 2.5 for DeepSeek V4 Flash.

    Sources: llm-d's H100 table; weclone issue 101; vllm PR 50576. Models with a state (gated delta net) are charged what
    their profiling step takes besides: 0.52 GiB, from 4,096 tokens on 0.89 for 8,192 (Qwen3.8-27B: vllm issues 50780, 52872).
    """
    first = _GRAPH_FIRST if engine.captured else 0.0
    states = [one.attention for one in model.layers if one.attention.kind == "linear"]
    if first and states and engine.consumed:
        width = states[0].kv_heads * states[0].value_size / _STATE_WIDTH / parallel.tp
        first = max(first, width * max(_STATE_FIRST, _STATE_TOKEN * batched))
    return Range.around(first + len(engine.captured) * len(model.layers) * _GRAPH_LAYER, 0.3, 3.0)
