"""Weights of a loaded model are replaced and come back; experts, too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from quantize.evaluate.patched_model import Floats, PatchedModel
from quantize.evaluate.windows import TextPlan
from tests.quantize.calibration.pico_moments import FOREIGN, TEXT
from tests.quantize.families.test_byte_identity_of_families import BY_NAME, written
from tests.quantize.quantize_folder import run_plan

pytestmark = pytest.mark.model


def test_what_is_replaced_counts_and_comes_back(tmp_path: Path) -> None:
    (file,) = run_plan(written(BY_NAME["qwen3-moe"], tmp_path), ["F16"], tmp_path)
    plans = [TextPlan(TEXT, 64, 6), TextPlan(FOREIGN, 64, 4)]
    with PatchedModel(file.path, plans, threads=1) as model:
        assert model.n_windows == (6, 4)
        experts = model.rows("blk.1.ffn_up_exps.weight")
        assert len(experts) == 4 * model.weights["blk.1.ffn_up_exps.weight"].ne[1]
        assert not model.divergences(["blk.1.ffn_up_exps.weight"], model.rows).any()
        changed = model.divergences(["blk.1.ffn_up_exps.weight"], lambda name: np.zeros_like(experts))
        assert changed.shape == (10, 31)
        assert changed.mean() > 1e-6

        def fails_in_the_second_layer(name: str) -> Floats:
            if name.startswith("blk.1."):
                raise ArithmeticError
            return np.zeros_like(model.rows(name))

        with pytest.raises(ArithmeticError):
            model.divergences(["blk.0.attn_q.weight", "blk.1.attn_q.weight"], fails_in_the_second_layer)
        assert not model.divergences([], model.rows).any()
