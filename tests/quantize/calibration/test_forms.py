"""Blocks taken apart stand for ggml's numbers, and put together again are ggml's bytes."""

from __future__ import annotations

import numpy as np
import pytest

from models.llamacpp.quantization.dequantizer import dequantize_rows
from models.llamacpp.quantization.ggml_types import GGML_TYPES, row_size
from models.llamacpp.quantization.quantizer import quantize_rows
from quantize.calibration.forms import form_of, pack, unpack

pytestmark = pytest.mark.model

TYPES = ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "IQ4_NL", "IQ4_XS")


def encoded(ggml_type: int, scale: float) -> np.ndarray:
    """Rows as ggml encodes them, one all zero, one of a sign only."""
    rows = np.random.Generator(np.random.PCG64(7)).standard_normal((24, 512)).astype(np.float32) * np.float32(
        scale
    )
    rows[3] = 0
    rows[5] = np.abs(rows[5])
    out = np.zeros(len(rows) * row_size(ggml_type, 512), np.uint8)
    quantize_rows(ggml_type, rows, out, np.linspace(0.1, 2, 512, dtype=np.float32))
    return out


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 300.0])
def test_blocks_are_ggmls(name: str, scale: float) -> None:
    kind = GGML_TYPES[name]
    raw = encoded(kind, scale)
    blocks = unpack(kind, raw)
    assert np.array_equal(blocks.values().reshape(-1), dequantize_rows(kind, raw, 512).reshape(-1))
    assert pack(kind, blocks).tobytes() == raw.tobytes()


@pytest.mark.parametrize("name", TYPES)
def test_any_bytes_come_back(name: str) -> None:
    kind = GGML_TYPES[name]
    form = form_of(kind)
    assert form is not None
    raw = np.random.Generator(np.random.PCG64(1)).integers(0, 256, (64, form.n_bytes), np.uint8)
    with np.errstate(invalid="ignore"):  # a signalling NaN is one of the numbers
        blocks = unpack(kind, raw)
    finite = np.isfinite(blocks.d) & np.isfinite(blocks.dmin)
    assert finite.sum() > 30
    assert np.array_equal(pack(kind, unpack(kind, raw[finite])), raw[finite])


def test_other_types_are_not_taken_apart() -> None:
    assert all(form_of(GGML_TYPES[name]) is None for name in ("F32", "F16", "BF16", "IQ2_XS", "TQ1_0"))
