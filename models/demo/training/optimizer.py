"""Muon for the matrices of the layers, AdamW for embeddings and norms.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/) makes each momentum matrix orthogonal
with five Newton-Schulz steps before it is added. Matrices of one shape are handled as one batch.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, distributed, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonal(matrices: Tensor) -> Tensor:
    """Nearly orthogonal `matrices` [n, rows, columns] with the same row and column spaces; rows <=
    columns.
    """
    a, b, c = COEFFICIENTS
    x = matrices.bfloat16()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.float()


def shared_orthogonal(matrices: Tensor) -> Tensor:
    """`orthogonal`, with the matrices divided among the training processes."""
    if not distributed.is_initialized():
        return orthogonal(matrices)
    mine = slice(distributed.get_rank(), None, distributed.get_world_size())
    out = torch.zeros_like(matrices)
    out[mine] = orthogonal(matrices[mine])
    distributed.all_reduce(out)
    return out


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, made orthogonal; `lr` is the size of an update in units of the spectral norm."""

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, momentum: float, weight_decay: float
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002 - torch's signature
        for group in self.param_groups:
            by_shape: dict[tuple[int, ...], list[nn.Parameter]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault(tuple(sorted(parameter.shape)), []).append(parameter)
            for parameters in by_shape.values():
                self._step_shape(group, parameters)

    def _step_shape(self, group: dict[str, float], parameters: list[nn.Parameter]) -> None:
        updates = []
        for parameter in parameters:
            assert parameter.grad is not None
            state = self.state[parameter]
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(parameter)
            state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
            update = parameter.grad.lerp(state["momentum"], group["momentum"])
            updates.append(update if update.shape[0] <= update.shape[1] else update.mT)
        for parameter, update in zip(parameters, shared_orthogonal(torch.stack(updates)), strict=True):
            rows, columns = parameter.shape
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            turned = update if rows <= columns else update.mT
            parameter.add_(turned, alpha=-group["lr"] * max(1.0, rows / columns) ** 0.5)
