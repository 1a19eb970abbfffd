"""The choice of types for a size: from a planned file to candidates, their losses and the best recipe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from models.errors import QuantizationError
from models.llamacpp.quantization.ggml_types import GGML_TYPES, is_quantized, tensor_size, type_name
from models.quantization_types import MIX_BASES
from quantize.allocation.candidates import Candidate, candidates
from quantize.allocation.sensitivity import DEFAULT_PROBES, measure_losses
from quantize.allocation.solve import Allocation, Losses, allocate
from quantize.allocation.trial import TrialModel
from quantize.control import JobControl
from quantize.gguf.header import TensorInfo, aligned
from quantize.imatrix.matrix import ImportanceMatrix
from quantize.plan.plan import PlannedFile
from quantize.plan.type_recipe import TypeRecipe
from quantize.plan.types import TypeChoice

_SMALL_BITS = 4.6
"""Types of 2 and 3 bits are candidates, too, below this many bits per weight."""


@dataclass(frozen=True)
class Budget:
    """The size of a file to be made: at most `target_bytes`. `base`: the plan of the model's Q4_K_M file."""

    target_bytes: int
    base: PlannedFile

    @property
    def free(self) -> tuple[TensorInfo, ...]:
        """The tensors whose type is to be chosen: those that the base quantizes."""
        return tuple(tensor for tensor in self.base.tensors if is_quantized(tensor.ggml_type))

    @property
    def fixed_bytes(self) -> int:
        """The bytes of the header, the vectors and all else that keeps its type."""
        free = sum(aligned(tensor_size(tensor.ggml_type, tensor.ne)) for tensor in self.free)
        return self.base.size_bytes - free

    @property
    def bits_per_weight(self) -> float:
        """The bits per weight of a file that takes all of the target."""
        header = len(self.base.header)
        return (self.target_bytes - header) * 8 / self.base.n_parameters


def budget_of_bits(base: PlannedFile, bits_per_weight: float) -> Budget:
    """Return the budget of a file of `bits_per_weight`, which counts all tensors' bytes."""
    return Budget(int(bits_per_weight * base.n_parameters / 8) + len(base.header), base)


def choose(
    budget: Budget,
    model: TrialModel,
    choice: TypeChoice,
    *,
    figures: dict[str, object] | None = None,
    max_probes: int = DEFAULT_PROBES,
    control: JobControl | None = None,
) -> TypeRecipe:
    """Return the recipe that loses least at that size. Blocks; counts "probes".

    `choice`: the importance and the calibration that the model's trials, too, are encoded by; `figures` are
    kept in the recipe.

    Raises QuantizationError: too small a size; Cancelled.
    """
    options = options_for(budget, knows_importance(choice.imatrix))
    losses = measure_losses(model, options, max_probes=max_probes, control=control or JobControl())
    return recipe_of(budget, losses, figures or {})


def knows_importance(imatrix: ImportanceMatrix | None) -> Callable[[TensorInfo], bool]:
    """Return a function that tells whether the importance of a tensor's columns is known."""
    return lambda tensor: imatrix is not None and imatrix.weights_for(tensor.name, tensor.ne) is not None


def will_know_importance(tensors: Sequence[TensorInfo], *, of_output: bool) -> Callable[[TensorInfo], bool]:
    """Return the function as it will be when a text has run: true of layers, and `of_output`, of the output
    matrix, be it the embeddings'.
    """
    has_output = any(tensor.name == "output.weight" for tensor in tensors)
    output = "output.weight" if has_output else "token_embd.weight"
    return lambda tensor: tensor.name.startswith("blk.") or (of_output and tensor.name == output)


def options_for(
    budget: Budget, has_weights: Callable[[TensorInfo], bool], *, spare_bytes: int = 0
) -> dict[str, tuple[Candidate, ...]]:
    """Return the candidates of each tensor whose type is to be chosen.

    `has_weights`: whether the importance of its columns is known; `spare_bytes`: the base's header will grow
    by so many at most. Raises QuantizationError, with a size that is enough, if no choice is as small as the
    target.
    """
    least = 0
    for small in (False, True) if budget.bits_per_weight >= _SMALL_BITS else (True,):
        options = {
            tensor.name: candidates(tensor.ne, has_weights=has_weights(tensor), small=small)
            for tensor in budget.free
        }
        least = budget.fixed_bytes + sum(some[0].n_bytes for some in options.values())
        if least <= budget.target_bytes:
            return options
    least += spare_bytes
    bits = (least - len(budget.base.header)) * 8 / budget.base.n_parameters
    can_be_less = not all(map(has_weights, budget.free))
    raise QuantizationError(
        f"the smallest file that can be made of this model has {least:,} bytes ({bits:.2f} bits per weight), "
        f"and it was to have at most {budget.target_bytes:,}; ask for more"
        + (", or give an importance matrix of all its tensors, for smaller types" if can_be_less else "")
    )


def recipe_of(budget: Budget, losses: Losses, figures: dict[str, object]) -> TypeRecipe:
    """Return the best choice for the size as a recipe. Raises QuantizationError: too small a size."""
    if not losses:
        raise QuantizationError("the model has no tensor whose type could be chosen")
    allocation = allocate(losses, budget.target_bytes - budget.fixed_bytes)
    data = sum(budget.base.tensor_bytes) + _difference(budget, allocation)
    bits = data * 8 / budget.base.n_parameters
    return TypeRecipe(
        name=f"MIX-{bits:.2f}",
        base=next(name for most, name in MIX_BASES if bits < most),
        types={name: type_name(candidate.ggml_type) for name, candidate in allocation.candidates.items()},
        target_bytes=budget.target_bytes,
        size_bytes=budget.fixed_bytes + allocation.n_bytes,
        bits_per_weight=round(bits, 4),
        figures={**figures, "predicted_kl_divergence": allocation.loss},
    )


def _difference(budget: Budget, allocation: Allocation) -> int:
    """Return how many bytes more than the base's the allocation's types take, without padding."""
    return sum(
        tensor_size(allocation.candidates[tensor.name].ggml_type, tensor.ne)
        - tensor_size(tensor.ggml_type, tensor.ne)
        for tensor in budget.free
    )


def bytes_by_type(recipe: TypeRecipe, base: PlannedFile) -> dict[str, int]:
    """Return how many bytes of the file each type takes, the most first."""
    counted: dict[str, int] = {}
    for tensor in base.tensors:
        kind = recipe.types.get(tensor.name, type_name(tensor.ggml_type))
        counted[kind] = counted.get(kind, 0) + tensor_size(GGML_TYPES[kind], tensor.ne)
    return dict(sorted(counted.items(), key=lambda item: -item[1]))
