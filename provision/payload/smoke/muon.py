"""The optimiser for the matrices: momentum, made orthogonal by a Newton-Schulz iteration (Muon, Jordan 2024).

torch.optim.Muon iterates in bfloat16, one matrix at a time: 0.55 s a step on a CPU without bfloat16 units. Here all
matrices of one shape go through one batched float32 product, routed experts included: 0.17 s a step (2026-11-24, two
cores of an AMD EPYC with AVX2). AdamW needs about ten times as many steps on this task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # coefficients of the quintic, from the Muon reference implementation
NEWTON_SCHULZ_STEPS = 5


class Muon:
    """Updates parameters of shape (..., rows, columns); a leading dimension is a stack of independent matrices."""

    def __init__(self, parameters: list[Tensor], momentum: float = 0.95, weight_decay: float = 0.01) -> None:
        import torch

        self.momentum = momentum
        self.weight_decay = weight_decay
        self.by_shape: dict[tuple[int, int], list[Tensor]] = {}
        for parameter in parameters:
            rows, columns = parameter.shape[-2:]
            self.by_shape.setdefault((rows, columns), []).append(parameter)
        self.buffers = {
            shape: torch.zeros(sum(p.numel() for p in members) // (shape[0] * shape[1]), *shape)
            for shape, members in self.by_shape.items()
        }

    def zero_grad(self) -> None:
        for members in self.by_shape.values():
            for parameter in members:
                parameter.grad = None

    def step(self, rate: float) -> None:
        """One update at learning rate `rate`; every parameter must have a gradient."""
        import torch

        with torch.no_grad():
            for shape, members in self.by_shape.items():
                gradient = torch.cat([p.grad.reshape(-1, *shape) for p in members if p.grad is not None])
                buffer = self.buffers[shape]
                buffer.lerp_(gradient, 1 - self.momentum)
                update = orthogonal(gradient.lerp(buffer, self.momentum))
                scale = -rate * max(1.0, shape[0] / shape[1]) ** 0.5
                sizes = [p.numel() // (shape[0] * shape[1]) for p in members]
                for parameter, part in zip(members, update.split(sizes), strict=True):
                    parameter.mul_(1 - rate * self.weight_decay).add_(part.reshape(parameter.shape), alpha=scale)


def orthogonal(matrices: Tensor) -> Tensor:
    """The nearest semi-orthogonal matrix of each in a stack (count, rows, columns), approximately."""
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    a, b, c = NEWTON_SCHULZ
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.mT if tall else x
