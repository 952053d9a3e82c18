"""DeepSeek-V3 with every routed expert as linear layers of its own, so that they are really quantised.

transformers 5 keeps the routed experts of a layer as two three-dimensional parameters. bitsandbytes replaces
`nn.Linear` only, so it passes over them: half of the bundled model, and nearly all of a large one, would stay in
full precision while the configuration says "4 bit". Here each expert is three `nn.Linear`, the layout in which
DeepSeek's own checkpoints store them, and the ordinary `from_pretrained(..., quantization_config=...)` quantises all.
"""

from __future__ import annotations

import functools
from typing import Any


@functools.cache
def model_class() -> Any:
    """The class to call `from_pretrained` on. It reads checkpoints with one tensor per expert and matrix."""
    import torch
    from torch import nn
    from transformers import DeepseekV3ForCausalLM, DeepseekV3Model
    from transformers.activations import ACT2FN

    class Expert(nn.Module):  # type: ignore[misc]
        """A gated feed-forward of width moe_intermediate_size."""

        def __init__(self, config: Any) -> None:
            super().__init__()
            self.gate_proj = nn.Linear(config.hidden_size, config.moe_intermediate_size, bias=False)
            self.up_proj = nn.Linear(config.hidden_size, config.moe_intermediate_size, bias=False)
            self.down_proj = nn.Linear(config.moe_intermediate_size, config.hidden_size, bias=False)
            self.activation = ACT2FN[config.hidden_act]

        def forward(self, states: torch.Tensor) -> torch.Tensor:
            return self.down_proj(self.activation(self.gate_proj(states)) * self.up_proj(states))

    class RoutedExperts(nn.ModuleList):  # type: ignore[misc]
        """The experts of one layer; called with what the router decided, as transformers calls its fused experts."""

        def __init__(self, config: Any) -> None:
            super().__init__(Expert(config) for _ in range(config.n_routed_experts))

        def forward(self, states: torch.Tensor, chosen: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
            """states (tokens, hidden); chosen and weights (tokens, experts per token)."""
            result = torch.zeros_like(states)
            for number, expert in enumerate(self):
                token, place = torch.where(chosen == number)
                if len(token):
                    part = expert(states[token]) * weights[token, place, None]
                    result.index_add_(0, token, part.to(result.dtype))
            return result

    class UnfusedModel(DeepseekV3Model):  # type: ignore[misc]
        """A class of ours, so that transformers leaves out the conversion that would fuse the experts on loading."""

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            for layer in self.layers:
                if hasattr(layer.mlp, "experts"):
                    layer.mlp.experts = RoutedExperts(config)

    class UnfusedForCausalLM(DeepseekV3ForCausalLM):  # type: ignore[misc]
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.model = UnfusedModel(config)
            self.post_init()

    return UnfusedForCausalLM


def flatten_latents(model: Any) -> Any:
    """Make a loaded model give kv_b_proj matrices; returns the model.

    transformers 5.23 keeps the latents as (batch, 1, tokens, rank), and bitsandbytes 0.50's 8-bit product flattens
    three dimensions but not four: "size of tensor a must match" (seen 2026-11-24, CPU). The result is the same,
    because the projection works on the last dimension and transformers gives what it returns a new shape.
    """
    for layer in model.model.layers:
        layer.self_attn.kv_b_proj.register_forward_pre_hook(lambda _module, inputs: (inputs[0].flatten(0, -2),))
    return model
