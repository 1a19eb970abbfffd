"""Transforms: the right rows, whichever blocks they are asked for in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from quantize.architectures.base.transform import (
    Axes,
    Channels,
    ColumnRuns,
    Constant,
    Exp,
    Plus,
    Reshaped,
    RotaryHeads,
    Runs,
    Same,
    Shape,
    Slice,
    SliceOfEach,
    Stack,
    Transform,
    Transpose,
)
from quantize.checkpoint.safetensors import SafetensorsSource
from tests.pico import write_safetensors

HEAD_DIM = 8
WEIGHT = np.arange(3 * HEAD_DIM * 5, dtype=np.float32).reshape(3 * HEAD_DIM, 5)
OTHER = -WEIGHT
EXPERTS = np.arange(3 * 8 * 5, dtype=np.float32).reshape(3, 8, 5) / 2
TENSORS: dict[str, npt.NDArray[Any]] = {
    "w": WEIGHT,
    "other": OTHER,
    "experts": EXPERTS,
    "bias": np.ascontiguousarray(WEIGHT[:, 0]),
    "channels": OTHER.reshape(24, 1, 5),
    "convolution": WEIGHT.reshape(24, 1, 5),
}

Array = npt.NDArray[Any]

# Name, transform, sources, and the whole that it must make.
CASES: list[tuple[str, Transform, list[str], Array]] = [
    ("same", Same(), ["w"], WEIGHT),
    ("same, three axes", Same(), ["experts"], EXPERTS),
    ("slice", Slice(5, 7, of=24), ["w"], WEIGHT[5:12]),
    ("runs", Runs(((16, 24), (0, 3), (3, 5)), of=24), ["w"], np.concatenate([WEIGHT[16:], WEIGHT[:5]])),
    ("runs that repeat", Runs(((1, 2), (1, 2)), of=24), ["w"], WEIGHT[[1, 1]]),
    ("stacked", Stack(2), ["w", "other"], np.stack([WEIGHT, OTHER])),
    ("joined", Stack(2, joined=True), ["w", "other"], np.concatenate([WEIGHT, OTHER])),
    ("stacked vectors", Stack(2), ["bias", "bias"], np.stack([WEIGHT[:, 0]] * 2)),
    ("slice of each", SliceOfEach(4, 4, of=8), ["experts"], EXPERTS[:, 4:]),
    ("transposed", Transpose(5), ["w"], WEIGHT.T),
    ("columns", ColumnRuns(((3, 5), (0, 3))), ["w"], WEIGHT[:, [3, 4, 0, 1, 2]]),
    ("channels", Channels(), ["channels"], OTHER),
    ("channels in order", Channels(Runs(((9, 24), (0, 9)), of=24)), ["channels"], np.roll(OTHER, -9, axis=0)),
    ("axes", Axes((24, 1, 5)), ["channels"], OTHER.reshape(1, 24, 1, 5)),
    ("axes of a vector", Axes((24,)), ["bias"], WEIGHT[:, :1]),
    ("exp", Exp(-1.0), ["other"], -np.exp(OTHER.astype(np.float64)).astype(np.float32)),
    ("plus", Plus(1.0), ["w"], WEIGHT + 1),
    ("plus of a slice", Plus(-2.0, Slice(3, 2, of=24)), ["w"], WEIGHT[3:5] - 2),
    ("a middle axis less", Reshaped((24, 1, 5), 5), ["convolution"], WEIGHT),
    ("a column", Reshaped((24,), 1), ["bias"], WEIGHT[:, :1]),
    ("a vector in rows", Reshaped((24,), 6), ["bias"], WEIGHT[:, 0].reshape(4, 6)),
    (
        "runs in a column",
        Reshaped((24,), 1, Runs(((20, 24), (0, 20)), of=24)),
        ["bias"],
        np.roll(WEIGHT[:, :1], 4, axis=0),
    ),
    (
        "rotary in part",
        RotaryHeads(8, rotated=4),
        ["w"],
        WEIGHT.reshape(3, 8, 5)[:, [0, 2, 1, 3, 4, 5, 6, 7]].reshape(24, 5),
    ),
    ("rotary of a slice", RotaryHeads(4, Slice(8, 4, of=24)), ["w"], WEIGHT[[8, 10, 9, 11]]),
]
cases = pytest.mark.parametrize(
    ("transform", "names", "whole"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)


@pytest.fixture
def source(tmp_path: Path) -> SafetensorsSource:
    write_safetensors(tmp_path / "x.safetensors", TENSORS)
    return SafetensorsSource([tmp_path / "x.safetensors"])


@cases
def test_the_shapes_of_sources(transform: Transform, names: list[str], whole: Array) -> None:
    assert transform.source_shapes(whole.shape) == tuple(TENSORS[name].shape for name in names)


@cases
def test_blocks_from_every_start_make_the_whole(
    transform: Transform, names: list[str], whole: Array, source: SafetensorsSource
) -> None:
    rows = whole.reshape(-1, whole.shape[-1])
    step = transform.row_step
    for start in range(0, len(rows), step):
        for stop in {*range(start + step, len(rows), step), len(rows)}:
            np.testing.assert_array_equal(transform.read(source, names, start, stop), rows[start:stop])


@pytest.mark.parametrize(
    ("transform", "of_bias"),
    [(Slice(5, 7, of=24), range(5, 12)), (Runs(((16, 24), (0, 3)), of=24), [*range(16, 24), *range(3)])],
)
def test_a_bias_is_cut_like_its_rows(
    transform: Transform, of_bias: Sequence[int], source: SafetensorsSource
) -> None:
    shape: Shape = (len(of_bias),)
    assert transform.source_shapes(shape) == (TENSORS["bias"].shape,)
    made = transform.read(source, ["bias"], 0, len(of_bias))
    np.testing.assert_array_equal(made, TENSORS["bias"][list(of_bias)])


def test_biases_are_joined(source: SafetensorsSource) -> None:
    joined = Stack(2, joined=True)
    assert joined.source_shapes((48,)) == ((24,), (24,))
    made = joined.read(source, ["bias", "bias"], 0, 48)
    np.testing.assert_array_equal(made, np.tile(TENSORS["bias"], 2))


def test_rotary_heads_interleaves_the_halves_of_each_head(source: SafetensorsSource) -> None:
    rows = RotaryHeads(HEAD_DIM).read(source, ["w"], 0, len(WEIGHT))
    for head in range(3):
        for pair in range(HEAD_DIM // 2):
            first = head * HEAD_DIM + pair
            np.testing.assert_array_equal(rows[head * HEAD_DIM + 2 * pair], WEIGHT[first])
            np.testing.assert_array_equal(rows[head * HEAD_DIM + 2 * pair + 1], WEIGHT[first + HEAD_DIM // 2])


def test_a_bias_is_reordered_like_its_rows(source: SafetensorsSource) -> None:
    transform = RotaryHeads(HEAD_DIM)
    whole = transform.read(source, ["w"], 0, len(WEIGHT))
    np.testing.assert_array_equal(transform.read(source, ["bias"], 0, len(WEIGHT)), whole[:, 0])


def test_row_steps_combine() -> None:
    assert RotaryHeads(6, Plus(1.0, Transpose(4))).row_step == math.lcm(6, 4)


def test_plus_is_in_f32(source: SafetensorsSource, tmp_path: Path) -> None:
    write_safetensors(tmp_path / "half.safetensors", {"w": np.array([1 / 1024], np.float16)})
    half = SafetensorsSource([tmp_path / "half.safetensors"])
    (value,) = Plus(8.0).read(half, ["w"], 0, 1)
    assert value == 8 + 1 / 1024  # F16 would lose it


def test_computed(source: SafetensorsSource) -> None:
    values = Constant((1.0, 2.5)).read(source, [], 0, 2)
    assert values.dtype == np.float32
    assert values.tolist() == [1.0, 2.5]
