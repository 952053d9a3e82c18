"""What a card holds besides weights and cache: activations, what lies outside torch, CUDA graphs.

None of these can be read before the engine runs, so each is an estimate with a range. The terms are those of the profiling
run that vLLM sizes its cache with: one step of ``batched`` tokens, then sampling for ``seqs`` requests.
"""

from __future__ import annotations

from provision.fit.architecture import Architecture, Attention, FeedForward, Vision
from provision.fit.parallel import Parallel
from provision.record import record

# Bytes a logit at the peak of top-k/top-p sampling: llm-d's H100 table prints activation peaks of 4.76 GiB (Llama-3.1-8B,
# vocabulary 128,256) and 7.38 GiB (gpt-oss-20b, 201,088) at 1,024 requests: 38.9 and 38.5 bytes. The parts: 16-bit and
# float32 logits, sorted values and 64-bit indices with their workspace, softmax, cumulated sum.
SAMPLING_BYTES = 38.7
_RESIDUALS = 6  # buffers of hidden size that live at once in a layer: residual, input, norm, attention in and out, sum
# llm-d's table: 0.13 GiB on one H100; vllm issues 12126 (0.16), 15815 (0.30, TP 2), 14447 (0.20, 16 GPUs).
_NON_TORCH, _NON_TORCH_PARALLEL = int(0.13 * 2**30), int(0.30 * 2**30)

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


def activation(model: Architecture, parallel: Parallel, *, batched: int, seqs: int) -> Range:
    """The peak of one profiling step."""
    step = max((_layer(model, one.attention, one.feed_forward, parallel, batched) for one in model.layers), default=0)
    sampling = SAMPLING_BYTES * min(seqs, batched) * model.vocabulary
    pictures = _pictures(model.vision, model.hidden, batched, seqs) if model.vision else 0.0
    return Range.around(max(step, sampling, pictures), 0.7, 1.5 if model.vision is None else 4.0)


def _pictures(tower: Vision, hidden: int, batched: int, seqs: int) -> float:
    """The image tower's own profiling step: as many of the largest images as the encoder's budget of tokens holds.

    vLLM's budget is ``batched`` tokens, or one image where that has more. Checked against one report: Qwen3.8-27B in FP8
    on two RTX 3090 prints 4.99 GiB of cache (talos PR 1995); with this term it comes out as 4.9, without as 6.3.
    """
    images = max(1, min(batched // max(tower.tokens, 1), seqs))
    patches = images * tower.tokens * tower.merge * tower.merge
    return 2.0 * patches * (7 * tower.hidden + 2 * tower.intermediate) + 2.0 * images * tower.tokens * hidden


def _layer(model: Architecture, attention: Attention, block: FeedForward, parallel: Parallel, batched: int) -> float:
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
    residuals = _RESIDUALS + (2 * model.streams if model.streams > 1 else 0)
    return 2.0 * batched * (residuals * model.hidden + max(2 * wide + keys, inner))


def non_torch(parallel: Parallel) -> Range:
    """CUDA's context beyond what was there at start, communication buffers, libraries."""
    alone = parallel.tp * parallel.pp == 1
    return Range.around(_NON_TORCH if alone else _NON_TORCH_PARALLEL, 0.4, 3.0)


def graphs(model: Architecture, captured: int) -> Range:
    """CUDA graphs of ``captured`` batch sizes: 0.39 GiB for gpt-oss-20b, 0.64 for Qwen2.5-7B, 2.5 for DeepSeek V4 Flash.

    Sources: llm-d's H100 table; weclone issue 101; vllm PR 50576.
    """
    return Range.around(captured * len(model.layers) * _GRAPH_LAYER, 0.3, 3.0)
