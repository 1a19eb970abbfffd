"""Pico checkpoints that are near each other, as fine-tunes of one base are, and recipes that merge them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from models.paths import Paths
from models.reference import ModelRef
from quantize.checkpoint.source import TensorSource
from quantize.merge.composed_checkpoint import ComposedCheckpoint, find_parts
from quantize.merge.locate import Locator
from tests.peft import read_tensors
from tests.pico import NUMPY_DTYPES, Dtype, write_json, write_pico_checkpoint, write_safetensors

Array = npt.NDArray[Any]
Tensors = dict[str, Array]


def write_family(folder: Path, names: Sequence[str], *, dtype: Dtype = "F32", **options: Any) -> Path:
    """Write a base checkpoint by the first name, and fine-tunes of it by the others. Return `folder`."""
    base = write_pico_checkpoint(folder / names[0], dtype=dtype, **options)
    for number, name in enumerate(names[1:], start=1):
        random = np.random.Generator(np.random.PCG64(number))

        def tuned(value: Array, random: np.random.Generator = random) -> Array:
            change = random.standard_normal(value.shape) * value.astype(np.float32).std() * 0.2
            changed: Array = (value.astype(np.float64) + change).astype(value.dtype)
            return changed

        copy_model(base, folder / name, tuned)
    return folder


def copy_model(base: Path, target: Path, change: Callable[[Array], Array]) -> Path:
    """Copy the checkpoint with each tensor changed."""
    target.mkdir(parents=True)
    for file in base.iterdir():
        if file.suffix != ".safetensors":
            (target / file.name).write_bytes(file.read_bytes())
    changed = {name: change(value) for name, value in weights(base).items()}
    write_safetensors(target / "model.safetensors", changed)
    return target


def weights(folder: Path) -> Tensors:
    return read_tensors(folder / "model.safetensors")


def edit_config(folder: Path, **fields: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", config | fields)


def write_recipe(path: Path, recipe: Mapping[str, Any] | str) -> Path:
    path.write_text(recipe if isinstance(recipe, str) else yaml.safe_dump(dict(recipe), sort_keys=False))
    return path


def open_recipe(folder: Path, recipe: Mapping[str, Any] | str) -> ComposedCheckpoint:
    """Open the merge of models in `folder`, named without it."""
    path = write_recipe(folder / "recipe.yaml", recipe)
    return find_parts(ModelRef.parse(str(path)), (), locator(folder)).open()


def locator(folder: Path) -> Locator:
    return Locator(Paths(home=folder / "home", hf_cache=folder / "hub"))


def whole(source: TensorSource) -> Tensors:
    """Read every tensor in one piece."""
    return {name: source.rows(name, 0, entry.shape[0]) for name, entry in source.entries.items()}


def in_blocks(source: TensorSource, rows: int) -> Tensors:
    """Read every tensor `rows` rows at a time, from the last block to the first."""
    found = {}
    for name, entry in source.entries.items():
        starts = list(range(0, entry.shape[0], rows))
        blocks = [source.rows(name, start, min(start + rows, entry.shape[0])) for start in reversed(starts)]
        found[name] = np.concatenate(blocks[::-1])
    return found


def assert_equal(ours: Mapping[str, Array], expected: Mapping[str, Array]) -> None:
    """Check for the same tensors, types and bytes."""
    assert set(ours) == set(expected)
    for name, value in expected.items():
        assert ours[name].dtype == value.dtype, name
        assert ours[name].tobytes() == value.tobytes(), name


def assert_close(ours: Mapping[str, Array], expected: Mapping[str, Array], tolerance: float) -> None:
    """Check for the same tensors; a number may differ by `tolerance` of its tensor's largest."""
    assert set(ours) == set(expected)
    for name, value in expected.items():
        difference = np.abs(ours[name].astype(np.float64) - value.astype(np.float64)).max()
        assert difference <= tolerance * np.abs(value.astype(np.float64)).max(), name


def rounded(tensors: Mapping[str, Array], dtype: Dtype) -> Tensors:
    return {name: value.astype(NUMPY_DTYPES[dtype]) for name, value in tensors.items()}
