"""The config.json of a merge: the donor's, with as many layers as the result has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from models.errors import CheckpointError
from quantize.merge.recipe import Recipe

LAYER_KEYS: Final = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
_BY_NUMBER: Final = (
    "first_k_dense_replace",
    "max_window_layers",
    "mlp_only_layers",
    "no_rope_layer_interval",
    "global_attn_every_n_layers",
    "sliding_window_pattern",
)
"""The fields that name layers by their numbers, which would mean other layers afterwards."""

Config = Mapping[str, Any]


def n_layers_of(config: Config) -> int | None:
    """Return the number of layers; None if the configuration doesn't say."""
    value = next((config[key] for key in LAYER_KEYS if key in config), None)
    return value if type(value) is int and value > 0 else None


def merge_config(recipe: Recipe, configs: Mapping[str, Config]) -> dict[str, Any]:
    """Return the result's fields.

    Raises CheckpointError: different architectures, or layers that can't be put in another order.
    """
    donor = configs[recipe.donor]
    for model, config in configs.items():
        if config.get("architectures") != donor.get("architectures"):
            raise CheckpointError(
                f"{model} is {_architecture_name(config)} and {recipe.donor} is {_architecture_name(donor)};"
                " only models of one architecture can be merged"
            )
    merged = {key: value for key, value in donor.items() if key != "quantization_config"}
    if recipe.dtype is not None:
        for key in [key for key in ("dtype", "torch_dtype") if key in merged] or ["torch_dtype"]:
            merged[key] = recipe.dtype
    if any(source.layers is not None for part in recipe.slices for source in part.inputs):
        _reorder_layers(recipe, configs, merged)
    return merged


def _reorder_layers(recipe: Recipe, configs: Mapping[str, Config], merged: dict[str, Any]) -> None:
    n_donor = n_layers_of(merged)
    order = [
        (part.inputs[0].model, layer)
        for part in recipe.slices
        for layer in range(*(part.inputs[0].layers or (0, 0)))
    ]
    if [layer for _, layer in order] != list(range(n_donor or 0)):
        field = next((key for key in _BY_NUMBER if merged.get(key)), None)
        if field is not None:
            raise CheckpointError(
                f"{recipe.donor} says by {field} what its layers are, by their numbers; they can't be put in"
                " another order"
            )
    for key in LAYER_KEYS:
        if key in merged:
            merged[key] = len(order)
    for key, value in merged.items():
        if isinstance(value, list) and len(value) == n_donor and key != "architectures":
            merged[key] = [_layer_entry(key, model, layer, configs) for model, layer in order]


def _layer_entry(key: str, model: str, layer: int, configs: Mapping[str, Config]) -> Any:
    """Return a layer's entry of a list with one for each layer (`layer_types`)."""
    values = configs[model].get(key)
    if not isinstance(values, list) or layer >= len(values):
        raise CheckpointError(f"the config.json of {model} has no {key} for its layer {layer}; complete it")
    return values[layer]


def _architecture_name(config: Config) -> str:
    names = config.get("architectures")
    return str(names[0]) if isinstance(names, list) and names else "of an unnamed architecture"
