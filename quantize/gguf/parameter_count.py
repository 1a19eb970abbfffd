"""The number of a model's parameters, and of those in experts: the size in its name (`8x7B`)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class ParameterCount:
    """Numbers of parameters: `shared` outside of experts, `per_expert` in one expert of each layer.

    `n_experts` is the number of experts of a layer.
    """

    total: int
    shared: int
    per_expert: int
    n_experts: int

    @classmethod
    def of(cls, tensors: Iterable[tuple[str, Sequence[int]]]) -> Self:
        """Count by GGUF names and shapes (row length first); experts have three axes, named `…_exps.…`."""
        total = shared = per_expert = 0
        counts: list[int] = []
        for name, ne in tensors:
            size = math.prod(ne)
            total += size
            is_bias = name.endswith(".bias")
            if "_exps." in name and len(ne) == (2 if is_bias else 3):
                per_expert += size // ne[-1]
                counts.append(ne[-1])
            else:
                shared += size
        return cls(total, shared, per_expert, sum(counts) // len(counts) if counts else 0)
