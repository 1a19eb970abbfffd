"""ggml's own decoding of tensor rows to f32: the same numbers that llama.cpp quantizes from.

It is the converse of `quantizer.quantize_rows`. No object outlives a call.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import LlamaCppError
from models.llamacpp import library
from models.llamacpp.quantization.ggml_types import GGML_TYPES, require_type, row_size, type_name

_F32 = GGML_TYPES["F32"]


class _ggml_type_traits(ctypes.Structure):
    _fields_ = (
        ("type_name", ctypes.c_char_p),
        ("blck_size", ctypes.c_int64),
        ("blck_size_interleave", ctypes.c_int64),
        ("type_size", ctypes.c_size_t),
        ("is_quantized", ctypes.c_bool),
        ("to_float", ctypes.c_void_p),
        ("from_float_ref", ctypes.c_void_p),
    )


_TO_FLOAT = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)


@cache
def _to_float(ggml_type: int) -> Any:
    """Return ggml's function for a type: (blocks, f32 out, number of elements). Raises LlamaCppError."""
    traits_of = library.bind("ggml_get_type_traits", ctypes.POINTER(_ggml_type_traits), ctypes.c_int)
    traits = traits_of(require_type(ggml_type)).contents
    expected = type_name(ggml_type).lower()
    if not traits.type_name or traits.type_name.decode().lower() != expected:
        raise LlamaCppError(f"this build of llama.cpp doesn't describe its types as known here ({expected})")
    if not traits.to_float:
        raise LlamaCppError(f"{type_name(ggml_type)} can't be decoded to floats; give a file of another type")
    return _TO_FLOAT(traits.to_float)


def can_dequantize(ggml_type: int) -> bool:
    """True if `dequantize_rows` knows the type."""
    if ggml_type == _F32:
        return True
    try:
        _to_float(ggml_type)
    except LlamaCppError:
        return False
    return True


def dequantize_rows(ggml_type: int, raw: npt.NDArray[np.uint8], n_per_row: int) -> npt.NDArray[np.float32]:
    """Return `raw` (contiguous bytes of whole rows) as f32 `[n_rows, n_per_row]`, as ggml computes it.

    Thread-safe; the GIL is released. Raises LlamaCppError: a type without floats, bytes of no whole rows.
    """
    size = row_size(ggml_type, n_per_row)
    if not raw.flags.c_contiguous or size == 0 or raw.nbytes % size:
        raise LlamaCppError(f"{raw.nbytes} bytes aren't whole rows of {size}")
    out = np.empty((raw.nbytes // size, n_per_row), np.float32)
    if ggml_type == _F32:
        out.reshape(-1).view(np.uint8)[:] = raw.reshape(-1)
    elif out.size:
        _to_float(ggml_type)(raw.ctypes.data, out.ctypes.data, out.size)
    return out
