"""Blocks cover a tensor once; rounding is numpy's and ml_dtypes'; bad values are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

from models.errors import QuantizationError
from models.llamacpp.quantization.ggml_types import GGML_TYPES
from quantize.architectures.base.transform import Constant, RotaryHeads, Same, Transform
from quantize.checkpoint.safetensors import SafetensorsSource
from quantize.plan.plan import PlannedTensor
from quantize.run.encode import blocks, encode, widen
from tests.pico import write_safetensors

F32, F16, BF16 = GGML_TYPES["F32"], GGML_TYPES["F16"], GGML_TYPES["BF16"]


def planned(values: npt.NDArray[Any], transform: Transform | None = None) -> PlannedTensor:
    return PlannedTensor("w.weight", values.shape[::-1], ("w",), transform or Same(), values.nbytes)


def source_of(tmp_path: Path, values: npt.NDArray[Any]) -> SafetensorsSource:
    write_safetensors(tmp_path / "x.safetensors", {"w": values})
    return SafetensorsSource([tmp_path / "x.safetensors"])


@pytest.mark.parametrize("block_elements", [1, 64, 100, 640, 10**9])
@pytest.mark.parametrize("transform", [Same(), RotaryHeads(4)])
def test_blocks_cover_every_row_once(block_elements: int, transform: Transform) -> None:
    tensor = planned(np.zeros((20, 32), np.float16), transform)
    made = list(blocks(tensor, [F32], block_elements))
    assert [row for block in made for row in range(block.start, block.stop)] == list(range(20))
    assert all(block.start % transform.row_step == 0 for block in made)
    assert sum(block.n_source_bytes for block in made) == 20 * 32 * 2
    assert [block.is_last for block in made] == [False] * (len(made) - 1) + [True]


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_blocks_make_what_the_whole_makes(tmp_path: Path, dtype: npt.DTypeLike) -> None:
    values = np.random.default_rng(1).standard_normal((24, 256)).astype(dtype)
    source, tensor = source_of(tmp_path, values), planned(values, RotaryHeads(8))
    kinds = [GGML_TYPES["Q4_K"], F16, GGML_TYPES["Q4_K"]]
    (whole,) = blocks(tensor, kinds)
    parts = [encode(block, source) for block in blocks(tensor, kinds, 8 * 256)]
    assert len(parts) == 3
    for i, expected in enumerate(encode(whole, source)):
        np.testing.assert_array_equal(np.concatenate([part[i] for part in parts]), expected)


def all_halves(dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    values = np.arange(2**16, dtype=np.uint16).view(dtype)
    return values[np.isfinite(values.astype(np.float32))].reshape(-1, 32)


def test_every_half_and_bfloat_keeps_its_bits(tmp_path: Path) -> None:
    for dtype, kind in ((np.float16, F16), (ml_dtypes.bfloat16, BF16)):
        values = all_halves(dtype)
        (block,) = blocks(planned(values), [kind])
        (data,) = encode(block, source_of(tmp_path, values))
        assert data.tobytes() == values.tobytes()


def test_rounding_is_to_the_nearest_even(tmp_path: Path) -> None:
    """As numpy and ml_dtypes, and so the converter, round."""
    exact = all_halves(np.float16).astype(np.float32).ravel()
    between = ((exact[:-1] + exact[1:]) / 2)[: 2**15].reshape(-1, 32)
    values = np.concatenate(
        [between, np.nextafter(between, np.float32(9)), np.nextafter(between, np.float32(-9))]
    )
    (block,) = blocks(planned(values), [F16, BF16])
    half, bfloat = encode(block, source_of(tmp_path, values))
    assert half.tobytes() == values.astype(np.float16).tobytes()
    assert bfloat.tobytes() == values.astype(ml_dtypes.bfloat16).tobytes()


def test_widening_is_exact() -> None:
    for dtype in (np.float16, ml_dtypes.bfloat16):
        values = all_halves(dtype)
        np.testing.assert_array_equal(widen(values), values.astype(np.float32))
        np.testing.assert_array_equal(widen(values.T), values.T.astype(np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_arent_finite_are_named(tmp_path: Path, value: float) -> None:
    values = np.ones((8, 256), np.float32)
    values[5, 17] = value
    tensor = planned(values)
    source = source_of(tmp_path, values)
    good, bad = blocks(tensor, [GGML_TYPES["Q8_0"]], 1024)
    encode(good, source)
    with pytest.raises(QuantizationError, match=r"rows 4 to 7 of w\.weight \(w\): 1 of 1024 values"):
        encode(bad, source)


def test_a_value_too_large_for_f16_is_named(tmp_path: Path) -> None:
    values = np.full((2, 32), 1e6, np.float32)
    (block,) = blocks(planned(values), [F16])
    with pytest.raises(QuantizationError, match=r"w\.weight.*choose BF16 or F32"):
        encode(block, source_of(tmp_path, values))


def test_vectors_are_one_row(tmp_path: Path) -> None:
    values = np.arange(8, dtype=np.float16)
    (block,) = blocks(planned(values, RotaryHeads(4)), [F32])
    (data,) = encode(block, source_of(tmp_path, values))
    assert data.view(np.float32).tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
    computed = PlannedTensor("f.weight", (2,), (), Constant((1.0, 8.0)), 0)
    (block,) = blocks(computed, [F32])
    assert encode(block, source_of(tmp_path, values))[0].view(np.float32).tolist() == [1.0, 8.0]
