"""The plan of a merge: each tensor of the result with its operands and parameters; no weight is read.

Layers are recognised by the first number in a tensor's name (`model.layers.3.mlp…`). With slices, the
embeddings are made as the first slice is, all else outside of the layers as the last is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from models.errors import CheckpointError, ConfigError
from quantize.architectures.base.architecture import Architecture
from quantize.checkpoint.source import TensorEntry
from quantize.merge.chunks import FLOATS
from quantize.merge.methods import Method, Parameter, Values
from quantize.merge.parameters import Scalar, Setting
from quantize.merge.recipe import Recipe, Slice

_LAYER: Final = re.compile(r"(?P<stack>(?:[^.]*[^.\d][^.]*\.)+?)(?P<number>\d+)\.(?P<rest>.+)")
_EMBEDDING: Final = re.compile(r"emb(?!ed_out)|\bwte\b|\bwpe\b")

Entries = Mapping[str, TensorEntry]


@dataclass(frozen=True)
class Operand:
    """A model's tensor, and its parameters."""

    model: str
    tensor: str
    values: Values
    is_base: bool


@dataclass(frozen=True)
class MergedTensor:
    """One tensor of the result. A `copied` one has whole numbers (a buffer): it is the first operand's."""

    entry: TensorEntry
    operands: tuple[Operand, ...]
    shared: Values
    copied: bool


@dataclass(frozen=True)
class MergeModel:
    """A model as the plan sees it: its tensors and its number of layers."""

    entries: Entries
    n_layers: int | None


def plan_tensors(recipe: Recipe, models: Mapping[str, MergeModel]) -> list[MergedTensor]:
    """Return every tensor of the result, in the donor's order and the layers' new one.

    Raises CheckpointError: models without the same tensors and shapes; ConfigError: parameters that are
    missing or out of bounds, layers that no model has.
    """
    layered = any(source.layers is not None for part in recipe.slices for source in part.inputs)
    places = _places_of_slices(recipe, models) if layered else _places_of_models(recipe, models)
    tensors = [_plan_tensor(recipe, models, place) for place in places]
    if not tensors:
        raise CheckpointError(f"{recipe.donor} has no tensors; give the folder of a model's weights")
    return tensors


@dataclass(frozen=True)
class _Place:
    """A tensor of the result: its name, its name in each input of its slice, and its position there."""

    name: str
    part: Slice
    names: tuple[str, ...]
    position: float


def _places_of_models(recipe: Recipe, models: Mapping[str, MergeModel]) -> Iterable[_Place]:
    (part,) = recipe.slices
    donor = models[recipe.donor]
    sizes: dict[str, int] = {}
    for name in donor.entries:
        if match := _LAYER.match(name):
            sizes[match["stack"]] = max(sizes.get(match["stack"], 0), int(match["number"]) + 1)
    everywhere = [name for source in part.inputs for name in models[source.model].entries]
    for name in dict.fromkeys([*donor.entries, *everywhere]):
        if not _is_present(name, [name] * len(part.inputs), part, models):
            continue
        match = _LAYER.match(name)
        position = 0.0 if match is None else _position(int(match["number"]), sizes.get(match["stack"], 1))
        yield _Place(name, part, (name,) * len(part.inputs), position)


def _places_of_slices(recipe: Recipe, models: Mapping[str, MergeModel]) -> Iterable[_Place]:
    stacks = {model: _stack(model, described) for model, described in models.items()}
    for part in (recipe.slices[0], recipe.slices[-1]):
        for name in dict.fromkeys(name for source in part.inputs for name in models[source.model].entries):
            is_first = _EMBEDDING.search(name) is not None
            if (part is recipe.slices[0]) != is_first and len(recipe.slices) > 1:
                continue
            if any(name.startswith(stack) for stack in stacks.values()):
                continue
            if _is_present(name, [name] * len(part.inputs), part, models):
                yield _Place(name, part, (name,) * len(part.inputs), 0.0)
        if len(recipe.slices) == 1:
            break
    new = 0
    for part in recipe.slices:
        first, last = part.inputs[0].layers or (0, 0)
        for source in part.inputs:
            n_layers = models[source.model].n_layers or 0
            if source.layers is None or source.layers[1] > n_layers:
                raise ConfigError(f"{source.model} has {n_layers} layers; its layer_range ends beyond them")
        for place in range(last - first):
            yield from _layer(part, place, new, stacks, models)
            new += 1


def _layer(
    part: Slice, place: int, new: int, stacks: Mapping[str, str], models: Mapping[str, MergeModel]
) -> Iterable[_Place]:
    starts = [f"{stacks[source.model]}{(source.layers or (0, 0))[0] + place}." for source in part.inputs]
    rests = dict.fromkeys(
        name.removeprefix(start)
        for source, start in zip(part.inputs, starts, strict=True)
        for name in models[source.model].entries
        if name.startswith(start)
    )
    first, last = part.inputs[0].layers or (0, 0)
    for rest in rests:
        names = [start + rest for start in starts]
        name = f"{stacks[part.inputs[0].model]}{new}.{rest}"
        if _is_present(name, names, part, models):
            yield _Place(name, part, tuple(names), _position(place, last - first))


def _stack(name: str, model: MergeModel) -> str:
    """Return the names' beginning before the layer's number, of which a model must have one."""
    if model.n_layers is None:
        raise CheckpointError(f"the config.json of {name} doesn't say how many layers it has; use `models`")
    numbers: dict[str, set[int]] = {}
    for tensor in model.entries:
        if match := _LAYER.match(tensor):
            numbers.setdefault(match["stack"], set()).add(int(match["number"]))
    stacks = [stack for stack, layers in numbers.items() if layers == set(range(model.n_layers))]
    if len(stacks) != 1:
        raise CheckpointError(
            f"{name} has {len(stacks)} stacks of {model.n_layers} layers, and slices can be taken of one only"
        )
    return stacks[0]


def _position(number: int, n: int) -> float:
    return number / (n - 1) if n > 1 else 1.0


def _is_present(name: str, names: Sequence[str], part: Slice, models: Mapping[str, MergeModel]) -> bool:
    """True if all models have the tensor; an unneeded buffer may be missing.

    Raises CheckpointError for any other that is missing.
    """
    if name.endswith(Architecture.ignored_suffixes):
        return False
    lacking = [
        source.model
        for source, tensor in zip(part.inputs, names, strict=True)
        if tensor not in models[source.model].entries
    ]
    if not lacking:
        return True
    raise CheckpointError(
        f"{lacking[0]} has no tensor {names[0]}, which another of the merged models has;"
        " merge models of one kind"
    )


def _plan_tensor(recipe: Recipe, models: Mapping[str, MergeModel], place: _Place) -> MergedTensor:
    part = place.part
    base = part.base_model or recipe.base_model if recipe.method.has_base else None
    entries = [
        models[source.model].entries[name] for source, name in zip(part.inputs, place.names, strict=True)
    ]
    for source, entry in zip(part.inputs, entries, strict=True):
        if entry.shape != entries[0].shape:
            raise CheckpointError(
                f"{entry.name} has the shape {list(entry.shape)} in {source.model} and"
                f" {list(entries[0].shape)} in {part.inputs[0].model}; only models of one shape can be merged"
            )
    like = next(
        (entry for source, entry in zip(part.inputs, entries, strict=True) if source.model == base),
        entries[0],
    )
    copied = _is_buffer(entries, like)
    dtype = like.dtype if copied or recipe.dtype is None else _dtype(recipe.dtype)
    operands = tuple(
        Operand(
            source.model,
            name,
            _values(
                recipe.method, (source.parameters, part.parameters, recipe.parameters), name, place.position
            )
            if source.model != base
            else _no_values_for_base(source.parameters, source.model),
            source.model == base,
        )
        for source, name in zip(part.inputs, place.names, strict=True)
    )
    shared = _resolve(recipe.method.shared, (part.parameters, recipe.parameters), place.name, place.position)
    entry = TensorEntry(place.name, like.shape, dtype)
    tensor = MergedTensor(entry, operands, shared, copied)
    if recipe.method.name == "linear" and shared["normalize"] and not copied:
        _refuse_zero_sum(tensor)
    return tensor


def _is_buffer(entries: Sequence[TensorEntry], like: TensorEntry) -> bool:
    if all(entry.dtype.name in FLOATS for entry in entries):
        return False
    if all(entry.dtype.kind in "iub" for entry in entries):
        return True
    raise CheckpointError(
        f"{like.name} is {' and '.join(sorted({entry.dtype.name for entry in entries}))};"
        " only F32, F16 and BF16 weights can be merged"
    )


def _dtype(name: str) -> np.dtype[Any]:
    import ml_dtypes

    return np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)


def _no_values_for_base(parameters: Mapping[str, Setting], model: str) -> Values:
    if parameters:
        raise ConfigError(
            f"{model} is the base and has {', '.join(parameters)}, which mean nothing there; remove them"
        )
    return {}


def _values(method: Method, scopes: Sequence[Mapping[str, Setting]], tensor: str, position: float) -> Values:
    return _resolve(method.each, scopes, tensor, position)


def _resolve(
    parameters: Mapping[str, Parameter],
    scopes: Sequence[Mapping[str, Setting]],
    tensor: str,
    position: float,
) -> Values:
    return {
        name: _resolve_one(name, parameter, scopes, tensor, position)
        for name, parameter in parameters.items()
    }


def _resolve_one(
    name: str, parameter: Parameter, scopes: Sequence[Mapping[str, Setting]], tensor: str, position: float
) -> Scalar:
    values = (scope[name].at(tensor, position) for scope in scopes if name in scope)
    value = next((value for value in values if value is not None), parameter.default)
    if value is None:
        raise ConfigError(f"the recipe has no {name} for {tensor}; give one to each model, or to all of them")
    if isinstance(value, bool) != isinstance(parameter.default, bool):
        kind = "true or false" if isinstance(parameter.default, bool) else "a number"
        raise ConfigError(f"{name} is {value} for {tensor}; it must be {kind}")
    if not parameter.low <= value <= parameter.high:
        raise ConfigError(
            f"{name} is {value:g} for {tensor}; it must be from {parameter.low:g} to {parameter.high:g}"
        )
    return value


def _refuse_zero_sum(tensor: MergedTensor) -> None:
    total = sum(operand.values["weight"] for operand in tensor.operands)
    if abs(total) < 1e-8:
        raise ConfigError(
            f"the weights for {tensor.entry.name} add up to {total:g}, by which the sum can't be divided;"
            " give others, or normalize: false"
        )
