"""FP8 where it isn't one matrix with one scale: fused experts, scales in bytes, implied blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

from models.errors import CheckpointError
from quantize.checkpoint.quantized.detect import dequantize
from quantize.checkpoint.source import TensorSource
from tests.quantize.checkpoint.memory_source import MemorySource

N_EXPERTS, N_OUT, N_IN = 3, 24, 40
NAME = "model.layers.0.mlp.experts.gate_up_proj"
Array = npt.NDArray[Any]


def random_fp8(*shape: int) -> Array:
    random = np.random.default_rng(0)
    return random.standard_normal(shape).astype(np.float32).astype(ml_dtypes.float8_e4m3fn)


def opened(tensors: dict[str, Array], **settings: Any) -> TensorSource:
    config = {"quantization_config": {"quant_method": "fp8", **settings}}
    return dequantize(MemorySource(tensors), config, Path("nowhere"))


def experts(scale: Array, each: tuple[int, int]) -> Array:
    """Return what the tensor of experts means, number by number; a scale is for `each` rows × columns."""
    q, out = random_fp8(N_EXPERTS, N_OUT, N_IN), np.empty((N_EXPERTS, N_OUT, N_IN), np.float32)
    grid = scale.reshape(N_EXPERTS, -(-N_OUT // each[0]), -(-N_IN // each[1]))
    for e, o, i in np.ndindex(out.shape):
        out[e, o, i] = np.float32(q[e, o, i]) * np.float32(grid[e, o // each[0], i // each[1]])
    return out


@pytest.mark.parametrize("name", [NAME, f"{NAME}.weight"])
@pytest.mark.parametrize(
    ("shape", "each", "settings"),
    [
        ((3, 2, 3), (16, 16), {"weight_block_size": [16, 16]}),
        ((3, 3, 5), (8, 8), {}),
        ((3, 1, 1), (128, 128), {}),
        ((3,), (N_OUT, N_IN), {"weight_block_size": None}),
        ((3, 1, 1), (N_OUT, N_IN), {"weight_block_size": [16, 16]}),
        ((3, N_OUT), (1, N_IN), {}),
        ((3, N_OUT, 1), (1, N_IN), {}),
        ((3, 1, N_IN), (N_OUT, 1), {}),
    ],
)
def test_fused_experts(
    name: str, shape: tuple[int, ...], each: tuple[int, int], settings: dict[str, Any]
) -> None:
    scale = np.random.default_rng(1).uniform(0.01, 1, shape).astype(np.float32)
    tensors = {name: random_fp8(N_EXPERTS, N_OUT, N_IN), f"{name}_scale_inv": scale}
    source = opened({**tensors, f"{NAME}_activation_scale": np.ones(3, np.float32)}, **settings)
    assert set(source.entries) == {name}
    expected = experts(scale, each)
    assert source.entries[name].shape == expected.shape
    np.testing.assert_array_equal(source.rows(name, 0, 3), expected)
    np.testing.assert_array_equal(source.rows(name, 1, 2), expected[1:2])
    assert source.rows(name, 2, 2).shape == (0, N_OUT, N_IN)


def test_fused_experts_whose_scales_dont_fit() -> None:
    tensors = {NAME: random_fp8(N_EXPERTS, N_OUT, N_IN), f"{NAME}_scale": np.ones((3, 7, 7), np.float32)}
    with pytest.raises(CheckpointError, match=r"gate_up_proj_scale is float32 \[3, 7, 7\]"):
        opened(tensors)
    with pytest.raises(CheckpointError, match="has neither"):
        opened({NAME: tensors[NAME]})


@pytest.mark.parametrize("suffix", ["weight_scale_inv", "scale", "qscale_weight"])
def test_scales_in_bytes_are_powers_of_two(suffix: str) -> None:
    exponents = np.array([[127, 120], [0, 140], [1, 130]], np.uint8)
    q = random_fp8(N_OUT, N_IN)
    source = opened({"x.weight": q, f"x.{suffix}": exponents}, weight_block_size=[8, 20])
    powers = exponents.view(ml_dtypes.float8_e8m0fnu).astype(np.float32)
    expected = q.astype(np.float32) * np.repeat(np.repeat(powers, 8, axis=0), 20, axis=1)
    np.testing.assert_array_equal(source.rows("x.weight", 0, N_OUT), expected)


def test_blocks_that_no_setting_says() -> None:
    q = random_fp8(N_OUT, N_IN)
    scale = np.random.default_rng(1).uniform(0.01, 1, (3, 5)).astype(np.float32)
    source = opened({"x.weight": q, "x.weight_scale_inv": scale})
    expected = q.astype(np.float32) * np.repeat(np.repeat(scale, 8, axis=0), 8, axis=1)
    np.testing.assert_array_equal(source.rows("x.weight", 0, N_OUT), expected)
    with pytest.raises(CheckpointError, match=r"one for each block of \[128, 128\]"):
        opened({"x.weight": q, "x.weight_scale_inv": np.ones((7, 7), np.float32)})
