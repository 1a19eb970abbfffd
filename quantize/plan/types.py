"""The choice of types: llama.cpp's rules, an importance matrix, recipes, types given by name. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from models.errors import QuantizationError
from models.llamacpp.quantization.ggml_types import ALL_FTYPES, GGML_TYPES, IMATRIX_FTYPES, blck_size
from models.llamacpp.quantization.type_rules import ModelDescription, type_plan
from models.quantization_types import RULES_OF, TABLE
from quantize.calibration.calibration import Calibration
from quantize.imatrix.matrix import ImportanceMatrix
from quantize.plan.type_recipe import TypeRecipe

PLAIN_FTYPES: Final = tuple(row.ftype for row in TABLE if row.written and row.block_size == 1)
"""The file types in which nothing is quantized, by llama.cpp's number: F32, F16, BF16."""
PLAIN_TYPES: Final = tuple(name for name, ftype in ALL_FTYPES.items() if ftype in PLAIN_FTYPES)
"""The types of those files."""
NEEDS_IMATRIX: Final = tuple(IMATRIX_FTYPES)
"""Files of these types need an importance matrix."""
BESIDE_STORED: Final = "Q8_0"
"""Tensors have this type's rules beside others that stay in the blocks that a checkpoint has them in."""

Tensor = tuple[str, Sequence[int], int]
"""A tensor's name, shape (row length first) and ggml type."""


@dataclass(frozen=True)
class TypeChoice:
    """All that decides tensors' types and encodings in addition to llama.cpp's rules.

    `imatrix`: some types are encoded better with it, some only with it; the moments' diagonal, where there is
    a `calibration` and no matrix is given. `recipes`: types of the user's own, each with a type for every
    tensor. `overrides`: ggml types by the names of tensors. `calibration`: rounds by whole moments where it
    can. `awaits_calibration`: a calibration will be there when tensors are made; until then only plans are.
    """

    imatrix: ImportanceMatrix | None = None
    recipes: tuple[TypeRecipe, ...] = ()
    overrides: Mapping[str, int] = field(default_factory=dict)
    calibration: Calibration | None = None
    awaits_calibration: bool = False

    @property
    def is_calibrated(self) -> bool:
        """True if tensors are rounded by whole moments, be they there yet or not."""
        return self.calibration is not None or self.awaits_calibration

    @property
    def has_importance(self) -> bool:
        """True if the importance of columns is known when tensors are encoded."""
        return self.imatrix is not None or self.awaits_calibration

    def __post_init__(self) -> None:
        if self.calibration is not None and self.imatrix is None:
            object.__setattr__(self, "imatrix", self.calibration.importance())


def require_roundable(types: Sequence[str], choice: TypeChoice | None) -> None:
    """Raise QuantizationError if there is a calibration, and none of the types asked for is rounded."""
    if choice is not None and choice.is_calibrated and all(type_ in PLAIN_TYPES for type_ in types):
        raise QuantizationError(
            f"{' '.join(types)} has nothing that a calibration rounds; leave --calibrate out, or choose a "
            "quantized type"
        )


def check_types(types: Sequence[str], choice: TypeChoice | None = None) -> None:
    """Raise QuantizationError with the reason if one of `types` can't be written."""
    choice = choice or TypeChoice()
    known = [*ALL_FTYPES, *(recipe.name for recipe in choice.recipes)]
    if not types:
        raise QuantizationError(f"no type was asked for; known are {' '.join(known)}")
    for type_ in types:
        if type_ in NEEDS_IMATRIX and not choice.has_importance:
            raise QuantizationError(
                f"{type_} needs an importance matrix, without which it is ruinous; give one with --imatrix "
                "(made by corral imatrix), or choose Q2_K or larger"
            )
        if type_ not in known:
            raise QuantizationError(f"{type_} is no type to quantize to; known are {' '.join(known)}")


def tensor_types(
    choice: TypeChoice,
    description: ModelDescription,
    type_: str,
    as_converted: Sequence[Tensor],
    scalable: Collection[str] = (),
) -> tuple[int, list[int]]:
    """Return the number for `general.file_type`, and each tensor's ggml type.

    `as_converted`: the tensors' names, shapes (row length first) and ggml types in llama.cpp's 16-bit file.
    `scalable`: those that can have a second scale, without which none becomes NVFP4. Raises
    QuantizationError.
    """
    recipe = next((recipe for recipe in choice.recipes if recipe.name == type_), None)
    file_type = type_ if recipe is None else recipe.base
    ftype = rules = ALL_FTYPES[file_type]
    overrides = dict(choice.overrides)
    if file_type in RULES_OF:
        others, own = _without_rules(file_type, description, as_converted, scalable)
        rules, overrides = ALL_FTYPES[others], own | overrides
    if recipe is not None:
        recipe.check_fits([name for name, _, _ in as_converted])
        overrides |= {name: GGML_TYPES[kind] for name, kind in recipe.types.items()}
    if not choice.has_importance and not overrides:
        return ftype, type_plan(description, rules, as_converted)
    with_imatrix = choice.has_importance and rules not in PLAIN_FTYPES
    return ftype, type_plan(description, rules, as_converted, imatrix=with_imatrix, overrides=overrides)


def _without_rules(
    file_type: str, description: ModelDescription, as_converted: Sequence[Tensor], scalable: Collection[str]
) -> tuple[str, dict[str, int]]:
    """Return the rules of a file type that has none of its own, and the tensors that become its own type.

    What is in its blocks already stays in them, and all else is encoded with little loss, as its makers left
    it whole. Raises QuantizationError if no tensor can be of the type.
    """
    own = GGML_TYPES[file_type]
    stored = {name: own for name, _, kind in as_converted if kind == own}
    if stored:
        return BESIDE_STORED, stored
    others = RULES_OF[file_type]
    given = type_plan(description, ALL_FTYPES[others], as_converted)
    found = {
        name: own
        for (name, ne, _), kind in zip(as_converted, given, strict=True)
        if kind == GGML_TYPES[others] and name in scalable and ne[0] % blck_size(own) == 0
    }
    if not found:
        raise QuantizationError(
            f"no tensor of this model can be {file_type}: llama.cpp's `{description.architecture}` leaves "
            f"out the scale that it needs, or rows aren't blocks of {blck_size(own)}; choose Q4_K_M"
        )
    return others, found
