"""A whole tensor's encoding and its loss: that of a sample of rows is the tensor's, nearly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from models.llamacpp.quantization.ggml_types import GGML_TYPES
from quantize.calibration.tensor_encoder import SAMPLE_ROWS, Tensor, TensorEncoder, kind_of
from quantize.moments.file import MomentFile
from quantize.plan.types import TypeChoice
from tests.pico import write_pico_checkpoint
from tests.quantize.calibration.pico_moments import calibration_by, collect_pico_moments
from tests.quantize.quantize_folder import quantize_folder

pytestmark = pytest.mark.model

TYPES = [GGML_TYPES[name] for name in ("Q3_K", "Q4_K", "Q8_0", "F16")]
NAME = "blk.0.ffn_up.weight"
ROWS = np.random.default_rng(3).normal(0, 0.02, (2 * SAMPLE_ROWS + 72, 256)).astype(np.float32)


@pytest.fixture(scope="module")
def moments(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MomentFile]:
    folder = tmp_path_factory.mktemp("pico")
    directory = write_pico_checkpoint(folder / "pico", n_layers=1)
    with collect_pico_moments(quantize_folder(directory, ["F16"], folder)[0].path, folder) as moments:
        yield moments


def test_a_sample_loses_as_the_whole_tensor_does(moments: MomentFile, tmp_path: Path) -> None:
    calibration = calibration_by(moments)
    tensor = Tensor(NAME, (256, len(ROWS)), ROWS)
    factor = calibration.factor(NAME, tensor.ne)
    assert factor is not None
    with TensorEncoder(TypeChoice(calibration=calibration), threads=2) as encoder:
        losses = encoder.losses(tensor, TYPES)
        assert losses == encoder.losses(tensor, TYPES)
        for ggml_type, loss in zip(TYPES, losses, strict=True):
            whole = [
                float(np.square((values(tensor, ggml_type) - ROWS) @ factor.upper).sum())
                for values in (encoder.values, encoder.plain_values)
            ]
            assert loss == pytest.approx(whole[0], rel=0.05)
            assert whole[0] <= whole[1] * 1.0001
        assert losses == sorted(losses, reverse=True)
        calibration.exclude([NAME], "it lost", TYPES[1])
        assert np.array_equal(encoder.values(tensor, TYPES[1]), encoder.plain_values(tensor, TYPES[1]))


def test_without_moments_the_columns_importance_counts(moments: MomentFile, tmp_path: Path) -> None:
    importance = moments.importance()
    weights = importance.weights(NAME)
    assert weights is not None
    experts = Tensor("unknown.weight", (256, len(ROWS) // 2, 2), ROWS)
    known = Tensor(NAME, (256, len(ROWS)), ROWS)
    calibrated = TypeChoice(calibration=calibration_by(moments))
    with (
        TensorEncoder(TypeChoice(importance), threads=2) as plain,
        TensorEncoder(calibrated, threads=2) as other,
    ):
        change = np.square(plain.values(known, TYPES[1]) - ROWS, dtype=np.float64)
        assert plain.losses(known, TYPES[1:2]) == pytest.approx([float((change @ weights).sum())])
        change = np.square(plain.values(experts, TYPES[1]) - ROWS, dtype=np.float64)
        for encoder in (plain, other):
            assert encoder.losses(experts, TYPES[1:2]) == pytest.approx([float(change.sum())])


def test_kinds() -> None:
    assert kind_of("blk.12.attn_v.weight") == "attn_v.weight"
    assert kind_of("output.weight") == "output.weight"
