"""What torch's caching allocator adds to the tensors of a model.

A tensor of 10 MiB and more gets a block of its own, in steps of 2 MiB; what is left of the last step stays with the tensor
unless it is more than 1 MiB (c10/cuda/CUDACachingAllocator.cpp: kMinLargeAlloc, kRoundLarge, kSmallSize). vLLM prints what
is charged to tensors, SGLang what the device lost. Qwen2.5-7B has 2.0 MiB of it in each of 28 layers: 14.2487 GiB are
printed where its tensors and its table of sines are 14.193; R1-Distill-Qwen-14B on two GPUs 3.5 MiB in each of 48, 13.9476
where they are 13.787 (vllm issue 13061); Llama-3.1-8B, whose sizes are all even, none (14.9888, vllm issue 10517).
"""

from __future__ import annotations

from typing import Literal

Counted = Literal["tensors", "allocated", "reserved"]
_MIB = 2**20
_OWN_BLOCK, _STEP, _KEPT = 10 * _MIB, 2 * _MIB, 1 * _MIB


def added(size: float, counted: Counted) -> float:
    """Bytes beyond ``size`` that one tensor of so many bytes costs."""
    if counted == "tensors" or size < _OWN_BLOCK:
        return 0.0
    rest = -size % _STEP
    return rest if counted == "reserved" or rest <= _KEPT else 0.0
