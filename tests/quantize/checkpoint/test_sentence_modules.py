"""Dense layers behind a model's pooling: their settings, their weights among the tensors, what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.errors import CheckpointError
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.checkpoint.sentence_modules import DenseLayer, dense_layers, require_dense_weights
from tests.pico import write_json, write_safetensors

WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)
SETTINGS: dict[str, Any] = {
    "in_features": 3,
    "out_features": 2,
    "bias": False,
    "activation_function": "torch.nn.modules.linear.Identity",
}


def write_layer(directory: Path, **changes: Any) -> Path:
    """Write a model of one tensor with one dense layer, whose settings are changed."""
    write_json(directory / "config.json", {})
    write_safetensors(directory / "model.safetensors", {"norm.weight": np.ones(3, np.float32)})
    modules = [{"type": "x.Transformer", "path": ""}, {"type": "x.models.Dense", "path": "2_Dense"}]
    write_json(directory / "modules.json", modules)
    (directory / "2_Dense").mkdir()
    write_json(directory / "2_Dense" / "config.json", SETTINGS | changes)
    write_safetensors(directory / "2_Dense" / "model.safetensors", {"linear.weight": WEIGHT})
    return directory


def test_a_layers_settings_and_weights(tmp_path: Path) -> None:
    layers = dense_layers(write_layer(tmp_path))
    assert layers == (DenseLayer("2_Dense", 3, 2, False, "torch.nn.modules.linear.Identity"),)
    with Checkpoint.open(tmp_path) as checkpoint:
        tensors = checkpoint.tensors
        assert list(tensors.entries) == ["norm.weight", layers[0].weight_name]
        require_dense_weights(layers, tensors.entries)
        assert tensors.entries["2_Dense.linear.weight"].name == "2_Dense.linear.weight"
        assert np.array_equal(tensors.rows("2_Dense.linear.weight", 1, 2), WEIGHT[1:])
        assert np.array_equal(tensors.columns("2_Dense.linear.weight", 1, 3), WEIGHT[:, 1:])
        assert np.array_equal(tensors.rows("norm.weight", 0, 3), np.ones(3))


def test_a_checkpoint_without_modules_has_no_layers(tmp_path: Path) -> None:
    write_layer(tmp_path)
    (tmp_path / "modules.json").unlink()
    assert dense_layers(tmp_path) == ()
    with Checkpoint.open(tmp_path) as checkpoint:
        assert list(checkpoint.tensors.entries) == ["norm.weight"]


def test_a_layer_without_files_says_which(tmp_path: Path) -> None:
    write_layer(tmp_path)
    (tmp_path / "2_Dense" / "model.safetensors").unlink()
    with (
        Checkpoint.open(tmp_path) as checkpoint,
        pytest.raises(CheckpointError, match=r"lacks 2_Dense/model\.safetensors .* whole repository"),
    ):
        require_dense_weights(dense_layers(tmp_path), checkpoint.tensors.entries)
    (tmp_path / "2_Dense" / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"2_Dense/config\.json isn't there"):
        dense_layers(tmp_path)


@pytest.mark.parametrize("size", [0, -1, "3", None, True, 2**40])
def test_sizes_that_are_none(tmp_path: Path, size: object) -> None:
    with pytest.raises(CheckpointError, match="numbers from 1 on"):
        dense_layers(write_layer(tmp_path, in_features=size))


def test_weights_that_cannot_be_read(tmp_path: Path) -> None:
    (write_layer(tmp_path) / "2_Dense" / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match="safetensors"):
        Checkpoint.open(tmp_path)
