"""ggml's decoding against the gguf package's, for every type that has one."""

from __future__ import annotations

import gguf
import numpy as np
import pytest

from models.errors import LlamaCppError
from models.llamacpp.quantization.dequantizer import can_dequantize, dequantize_rows
from models.llamacpp.quantization.ggml_types import GGML_TYPES, row_size
from models.llamacpp.quantization.quantizer import quantize_rows

pytestmark = pytest.mark.model

N_PER_ROW = 512
TYPES = [
    "F16",
    "BF16",
    "Q8_0",
    "Q4_0",
    "Q4_1",
    "Q5_0",
    "Q5_1",
    "Q2_K",
    "Q3_K",
    "Q4_K",
    "Q5_K",
    "Q6_K",
    "IQ4_NL",
]


@pytest.mark.parametrize("name", TYPES)
def test_rows_are_what_the_gguf_package_decodes(name: str) -> None:
    kind = GGML_TYPES[name]
    rows = np.random.default_rng(0).standard_normal((3, N_PER_ROW), np.float32)
    raw = np.empty(3 * row_size(kind, N_PER_ROW), np.uint8)
    quantize_rows(kind, rows, raw)
    decoded = dequantize_rows(kind, raw, N_PER_ROW)
    expected = gguf.dequantize(raw.reshape(3, -1), gguf.GGMLQuantizationType(kind)).reshape(3, N_PER_ROW)
    np.testing.assert_array_equal(decoded, expected)


def test_f32_is_copied() -> None:
    rows = np.random.default_rng(0).standard_normal((2, 5), np.float32)
    decoded = dequantize_rows(GGML_TYPES["F32"], rows.reshape(-1).view(np.uint8), 5)
    np.testing.assert_array_equal(decoded, rows)
    assert can_dequantize(GGML_TYPES["F32"])


def test_what_cant_be_decoded() -> None:
    assert not can_dequantize(GGML_TYPES["I32"])
    with pytest.raises(LlamaCppError, match="I32 can't be decoded"):
        dequantize_rows(GGML_TYPES["I32"], np.zeros(8, np.uint8), 2)
    with pytest.raises(LlamaCppError, match="whole rows"):
        dequantize_rows(GGML_TYPES["Q8_0"], np.zeros(33, np.uint8), 32)
    assert not can_dequantize(9999)
    with pytest.raises(LlamaCppError, match="no ggml type"):
        dequantize_rows(9999, np.zeros(8, np.uint8), 2)
