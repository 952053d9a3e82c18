"""What a loaded model really holds: measured from its tensors, never from its configuration."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

QUANTISED_BITS = {"int8": 8, "nf4": 4}
MATRICES_PER_EXPERT = 3
EXPERT_NAME = re.compile(r"\.layers\.(\d+)\.mlp\.experts\.(?:(\d+)\.)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantised:
    """Parameters outside embeddings and norms, how many of them are stored quantised, and the experts that are not."""

    quantised: int
    total: int
    experts: int
    experts_left_out: int

    @property
    def share(self) -> float:
        return self.quantised / self.total if self.total else 0.0


def tensors(model: Any) -> Iterator[Tensor]:
    """Every tensor a model keeps: parameters, buffers, and what bitsandbytes keeps beside the weights."""
    for module in model.modules():
        yield from module.parameters(recurse=False)
        yield from module.buffers(recurse=False)
        weight = getattr(module, "weight", None)
        holders = [weight, getattr(module, "state", None), getattr(weight, "quant_state", None)]
        holders.append(getattr(holders[-1], "state2", None))
        for holder in holders:
            for name in ("CB", "SCB", "absmax", "code", "offset"):
                tensor = getattr(holder, name, None)
                if hasattr(tensor, "untyped_storage"):
                    yield tensor


def storages(model: Any) -> dict[tuple[str, int], int]:
    """Bytes of each distinct piece of memory behind a model, by device and address."""
    found = {}
    for tensor in tensors(model):
        storage = tensor.untyped_storage()
        found[(str(storage.device), storage.data_ptr())] = storage.nbytes()
    return found


def stored_bits(parameter: Tensor) -> tuple[float, int]:
    """Bits a parameter takes for each number it stands for, and how many numbers that is.

    A 4-bit weight is a byte array whose logical shape is in its quantisation state. A layer that bitsandbytes has
    set up but never quantised has no state and counts as what its dtype is.
    """
    state = getattr(parameter, "quant_state", None)
    numbers = math.prod(state.shape) if state is not None else parameter.numel()
    return 8 * parameter.untyped_storage().nbytes() / numbers if numbers else 0.0, numbers


def is_quantised(module: Any, parameter: Tensor, bits: int) -> bool:
    """Whether the numbers are stored in `bits` bits with a scale to turn them back."""
    import torch

    if parameter.dtype not in (torch.int8, torch.uint8) or stored_bits(parameter)[0] > bits:
        return False
    if bits == QUANTISED_BITS["int8"]:
        scales = (getattr(parameter, "SCB", None), getattr(getattr(module, "state", None), "SCB", None))
        return any(scale is not None for scale in scales)
    state = getattr(parameter, "quant_state", None)
    return state is not None and state.quant_type == "nf4" and state.absmax is not None


def quantised(model: Any, precision: str) -> Quantised:
    """Count what is stored in `precision` (int8 or nf4) in a loaded model.

    An expert is left out unless all its matrices are quantised; experts fused into one parameter are all left out.
    """
    import torch

    bits = QUANTISED_BITS[precision]
    done = total = 0
    matrices: dict[tuple[int, int], int] = defaultdict(int)
    for module_name, module in model.named_modules():
        if isinstance(module, torch.nn.Embedding) or type(module).__name__.endswith("Norm"):
            continue
        for name, parameter in module.named_parameters(recurse=False):
            count = stored_bits(parameter)[1]
            total += count
            if not is_quantised(module, parameter, bits):
                continue
            done += count
            expert = EXPERT_NAME.search(f".{module_name}.{name}")
            if expert and expert[2] is not None:
                matrices[(int(expert[1]), int(expert[2]))] += 1
    config = model.config
    experts = (config.num_hidden_layers - config.first_k_dense_replace) * config.n_routed_experts
    whole = sum(count == MATRICES_PER_EXPERT for count in matrices.values())
    return Quantised(quantised=done, total=total, experts=experts, experts_left_out=experts - whole)


def process_bytes() -> int:
    """Resident memory of this process, from /proc/self/statm."""
    import os
    from pathlib import Path

    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
