"""The products of matrices that a planned model computes for each token, by names and shapes. Pure.

It is for estimates of time: nothing is looked at but the plan, so that attention's own products, and weights
of unusual names, are left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from quantize.plan.plan import PlannedTensor, QuantizationPlan

_EXPERTS: Final = "_exps.weight"
_TABLE: Final = "_embd.weight"
_EMBEDDINGS: Final = "token_embd.weight"
_OUTPUT: Final = "output.weight"
_LAYER: Final = re.compile(r"blk\.(\d+)\.")


@dataclass(frozen=True)
class Product:
    """A weight that rows are multiplied with. `ne`: its shape, row length first.

    `n_used`: so many of its matrices are multiplied for each token, of a mixture's experts those that it is
    routed to.
    """

    name: str
    ne: tuple[int, ...]
    n_matrices: int
    n_used: int

    @property
    def layer(self) -> int | None:
        """The number of its layer; None for the output matrix."""
        found = _LAYER.match(self.name)
        return None if found is None else int(found[1])

    @property
    def operations(self) -> int:
        """The multiplications for one token."""
        return self.ne[0] * self.ne[1] * self.n_used


def products_of(plan: QuantizationPlan) -> tuple[Product, ...]:
    """Return the products in the order of a graph: layer after layer, then the output matrix."""
    n_model = len(plan.tensors) if plan.projector is None else plan.projector.first
    tensors = [tensor for tensor in plan.tensors[:n_model] if len(tensor.ne) > 1 and not tensor.always_f32]
    has_output = any(tensor.name == _OUTPUT for tensor in tensors)
    found = []
    for tensor in tensors:
        is_table = tensor.name.endswith(_TABLE) and (has_output or tensor.name != _EMBEDDINGS)
        if tensor.name.endswith(".weight") and not is_table:
            n_matrices = tensor.n_rows // tensor.ne[1]
            found.append(Product(tensor.name, tensor.ne, n_matrices, _n_used(plan, tensor, n_matrices)))
    return tuple(sorted(found, key=lambda product: (product.layer is None, product.layer or 0)))


def _n_used(plan: QuantizationPlan, tensor: PlannedTensor, n_matrices: int) -> int:
    used = plan.files[0].metadata.get(f"{plan.architecture}.expert_used_count")
    if not tensor.name.endswith(_EXPERTS) or used is None or not isinstance(used.data, int):
        return n_matrices
    return min(used.data, n_matrices)
