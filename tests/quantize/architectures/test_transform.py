"""Transforms: the right rows, whichever blocks they are asked for in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from quantize.architectures.transform import Computed, RotaryHeads, Same
from quantize.checkpoint.safetensors import SafetensorsSource
from tests.pico import write_safetensors

HEAD_DIM = 8
WEIGHT = np.arange(3 * HEAD_DIM * 5, dtype=np.float32).reshape(3 * HEAD_DIM, 5)


@pytest.fixture
def source(tmp_path: Path) -> SafetensorsSource:
    write_safetensors(tmp_path / "x.safetensors", {"w": WEIGHT, "bias": WEIGHT[:, 0]})
    return SafetensorsSource([tmp_path / "x.safetensors"])


def test_rotary_heads_interleaves_the_halves_of_each_head(source: SafetensorsSource) -> None:
    rows = RotaryHeads(HEAD_DIM).read(source, ["w"], 0, len(WEIGHT))
    for head in range(3):
        for pair in range(HEAD_DIM // 2):
            first = head * HEAD_DIM + pair
            np.testing.assert_array_equal(rows[head * HEAD_DIM + 2 * pair], WEIGHT[first])
            np.testing.assert_array_equal(rows[head * HEAD_DIM + 2 * pair + 1], WEIGHT[first + HEAD_DIM // 2])


def test_blocks_of_whole_heads_make_the_whole(source: SafetensorsSource) -> None:
    transform = RotaryHeads(HEAD_DIM)
    step = transform.row_step
    blocks = [transform.read(source, ["w"], at, at + step) for at in range(0, len(WEIGHT), step)]
    np.testing.assert_array_equal(np.concatenate(blocks), transform.read(source, ["w"], 0, len(WEIGHT)))


def test_a_bias_is_reordered_like_its_rows(source: SafetensorsSource) -> None:
    transform = RotaryHeads(HEAD_DIM)
    whole = transform.read(source, ["w"], 0, len(WEIGHT))
    np.testing.assert_array_equal(transform.read(source, ["bias"], 0, len(WEIGHT)), whole[:, 0])


def test_same_and_computed(source: SafetensorsSource) -> None:
    np.testing.assert_array_equal(Same().read(source, ["w"], 2, 4), WEIGHT[2:4])
    values = Computed((1.0, 2.5)).read(source, [], 0, 2)
    assert values.dtype == np.float32
    assert values.tolist() == [1.0, 2.5]
