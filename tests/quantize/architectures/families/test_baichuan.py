"""Baichuan: the layers by which llama.cpp knows its positions, and Baichuan 2's output matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from models.errors import CheckpointError
from quantize.architectures.base.transform import Same
from quantize.architectures.families.baichuan import UnitRows
from quantize.checkpoint.source import Rows, TensorEntry, TensorSource
from tests.quantize.architectures.base.test_decoder import keys_of, of, rules_of

SIZES: dict[str, Any] = {"num_hidden_layers": 40, "num_key_value_heads": None}


class OneTensor(TensorSource):
    """A source that holds `data` under any name."""

    def __init__(self, data: Rows) -> None:
        self.data = data

    @property
    def entries(self) -> Mapping[str, TensorEntry]:
        return {"x": TensorEntry("x", self.data.shape, self.data.dtype)}

    def rows(self, name: str, start: int, stop: int) -> Rows:
        assert name == "x"
        return self.data[start:stop]

    def close(self) -> None:
        return None


def test_13b_and_its_context() -> None:
    keys = keys_of("BaichuanForCausalLM", **SIZES, model_max_length=8192)
    assert keys["baichuan.context_length"] == 8192
    assert keys["baichuan.rope.dimension_count"] == 16
    assert "baichuan.attention.head_count_kv" not in keys
    assert of("BaiChuanForCausalLM", **SIZES).gguf_name == "baichuan"


@pytest.mark.parametrize("changes", [{"num_hidden_layers": 24}, {"num_key_value_heads": 2}])
def test_layers_and_heads_that_llama_cpp_cannot_tell(changes: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match=r"32 layers \(rotary\) or 40 \(ALiBi\)"):
        of("BaichuanForCausalLM", **SIZES | changes)


def test_baichuan_2_has_rows_of_length_one() -> None:
    assert isinstance(rules_of("BaichuanForCausalLM", **SIZES)["output.weight"].transform, Same)
    unit = rules_of("BaichuanForCausalLM", **SIZES, z_loss_weight=0)["output.weight"].transform
    assert isinstance(unit, UnitRows)
    rows = unit.read(OneTensor(np.array([[3, 4], [0, 0], [1, 0], [0, -2]], np.float16)), ["x"], 0, 4)
    expected = np.array([[0.6, 0.8], [0, 0], [1, 0], [0, -1]], np.float32)
    np.testing.assert_allclose(rows, expected, rtol=1e-7)
    assert rows.dtype == np.float32
