"""From a planned file and a size to a recipe: candidates, their losses, the best choice."""

from __future__ import annotations

from dataclasses import dataclass

from models.errors import QuantizationError
from models.llamacpp.quantization.ggml_types import GGML_TYPES, is_quantized, tensor_size, type_name
from models.quantization_types import MIX_BASES
from quantize.allocation.candidates import Candidate, candidates
from quantize.allocation.recipe import Recipe
from quantize.allocation.sensitivity import DEFAULT_PROBES, OnProbes, measured_losses
from quantize.allocation.solve import Allocation, Losses, allocate
from quantize.allocation.trial import TrialModel
from quantize.gguf.header import TensorInfo, aligned
from quantize.imatrix.matrix import ImportanceMatrix
from quantize.plan.plan import PlannedFile

_SMALL_BITS = 4.6
"""Below so many bits per weight, types of 2 and 3 bits are candidates too."""


@dataclass(frozen=True)
class Budget:
    """`target_bytes`: of the whole file, at most. `base`: the plan of a Q4_K_M file of the model."""

    target_bytes: int
    base: PlannedFile

    @property
    def free(self) -> tuple[TensorInfo, ...]:
        """The tensors whose type can be chosen: those that the base quantizes."""
        return tuple(tensor for tensor in self.base.tensors if is_quantized(tensor.ggml_type))

    @property
    def fixed_bytes(self) -> int:
        """Header, vectors and what else keeps its type."""
        chosen = sum(aligned(tensor_size(tensor.ggml_type, tensor.ne)) for tensor in self.free)
        return self.base.size_bytes - chosen

    @property
    def bits_per_weight(self) -> float:
        """What the file would have, if it took all of the target."""
        header = len(self.base.header)
        return (self.target_bytes - header) * 8 / self.base.n_parameters


def budget_of_bits(base: PlannedFile, bits_per_weight: float) -> Budget:
    """`bits_per_weight`: of all tensors' bytes, as files are described by it."""
    return Budget(int(bits_per_weight * base.n_parameters / 8) + len(base.header), base)


def choose(
    budget: Budget,
    model: TrialModel,
    imatrix: ImportanceMatrix | None,
    *,
    figures: dict[str, object] | None = None,
    max_probes: int = DEFAULT_PROBES,
    on_probes: OnProbes | None = None,
) -> Recipe:
    """The recipe that loses least at that size. Blocks. Raises QuantizationError: too small a size."""
    small = budget.bits_per_weight < _SMALL_BITS
    options: dict[str, tuple[Candidate, ...]] = {}
    for tensor in budget.free:
        has_weights = imatrix is not None and imatrix.weights_for(tensor.name, tensor.ne) is not None
        options[tensor.name] = candidates(tensor.ne, has_weights=has_weights, small=small)
    losses = measured_losses(model, options, max_probes=max_probes, on_probes=on_probes)
    return recipe_of(budget, losses, figures or {})


def recipe_of(budget: Budget, losses: Losses, figures: dict[str, object]) -> Recipe:
    """The best choice for the size, as a recipe. Raises QuantizationError: too small a size."""
    if not losses:
        raise QuantizationError("the model has no tensor whose type could be chosen")
    allocation = allocate(losses, budget.target_bytes - budget.fixed_bytes)
    data = sum(budget.base.tensor_bytes) + _difference(budget, allocation)
    bits = data * 8 / budget.base.n_parameters
    return Recipe(
        name=f"MIX-{bits:.2f}",
        base=next(name for most, name in MIX_BASES if bits < most),
        types={name: type_name(candidate.ggml_type) for name, candidate in allocation.chosen.items()},
        target_bytes=budget.target_bytes,
        size_bytes=budget.fixed_bytes + allocation.n_bytes,
        bits_per_weight=round(bits, 4),
        figures={**figures, "predicted_kl_divergence": allocation.loss},
    )


def _difference(budget: Budget, allocation: Allocation) -> int:
    """How many bytes more than the base's the chosen types take, without padding."""
    return sum(
        tensor_size(allocation.chosen[tensor.name].ggml_type, tensor.ne)
        - tensor_size(tensor.ggml_type, tensor.ne)
        for tensor in budget.free
    )


def base_bytes_by_type(recipe: Recipe, base: PlannedFile) -> dict[str, int]:
    """How many bytes of the file each type takes, for showing."""
    counted: dict[str, int] = {}
    for tensor in base.tensors:
        kind = recipe.types.get(tensor.name, type_name(tensor.ggml_type))
        counted[kind] = counted.get(kind, 0) + tensor_size(GGML_TYPES[kind], tensor.ne)
    return dict(sorted(counted.items(), key=lambda item: -item[1]))
