"""Type recipes: a type for each tensor, the size it was chosen for, what was measured. A JSON file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from models.errors import QuantizationError
from models.llamacpp.quantization.ggml_types import ALL_FTYPES, GGML_TYPES
from models.quantization_types import RULES_OF
from models.store.atomic_write import write_atomically

SCHEMA_VERSION = 1
"""Recipes are read and written in this version."""

_NAME = re.compile(r"MIX-\d{1,2}\.\d{2}")


class TypeRecipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A type for each tensor of one model. `types`: each quantized tensor's ggml type, by name.

    `name`: the type that a file made by it is called, as `MIX-4.85`; `base`: the llama.cpp type that is
    nearest, which the file says of itself. The same recipe makes the same file.
    """

    name: str
    base: str
    types: dict[str, str]
    target_bytes: int
    size_bytes: int
    bits_per_weight: float
    figures: dict[str, Any] = {}
    """The figures that were measured on the way: the predicted loss, the text, the number of probes."""
    schema_version: int = SCHEMA_VERSION

    def check_fits(self, tensors: Sequence[str]) -> None:
        """Raise QuantizationError if a tensor of the recipe isn't among the model's `tensors`."""
        unknown = sorted(set(self.types) - set(tensors))
        if unknown:
            raise QuantizationError(
                f"the recipe has a type for {unknown[0]}, which this model doesn't have; it isn't its recipe"
            )


def write_type_recipe(recipe: TypeRecipe, path: Path) -> None:
    """Write the recipe as JSON; a file that is there is replaced when the new one is whole."""
    write_atomically(path, msgspec.json.format(msgspec.json.encode(recipe, order="deterministic"), indent=1))


def read_type_recipe(path: Path) -> TypeRecipe:
    """Read a recipe. Raises QuantizationError with the reason: no such file, damaged, types that aren't."""
    try:
        recipe = msgspec.json.decode(path.read_bytes(), type=TypeRecipe)
    except OSError as error:
        raise QuantizationError(f"{path} can't be read: {error.strerror or error}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise QuantizationError(
            f"{path} is no recipe ({error}); make one with: corral quantize --target-size"
        ) from error
    if recipe.schema_version != SCHEMA_VERSION:
        raise QuantizationError(
            f"{path} has version {recipe.schema_version} and version {SCHEMA_VERSION} is read; make it again"
        )
    wrong = [kind for kind in recipe.types.values() if kind not in GGML_TYPES]
    if wrong or recipe.base not in ALL_FTYPES or not _NAME.fullmatch(recipe.name):
        raise QuantizationError(f"{path} names types that there aren't; make it again")
    whole_files = RULES_OF.keys() & {recipe.base, *recipe.types.values()}
    if whole_files:
        raise QuantizationError(
            f"{path} has {min(whole_files)} for single tensors, which only files of that type have, with "
            "their second scales; name another type"
        )
    return recipe
