"""`Attention`: an attention to try with the kernels' library, as its C interface takes it."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from models.llamacpp.quantization.ggml_types import row_size

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Halves = npt.NDArray[np.float16]


class NativeAttention(ctypes.Structure):
    """The C interface's struct. It holds pointers into arrays of the `Attention` it was made of."""

    _fields_ = (
        ("k_type", ctypes.c_int),
        ("v_type", ctypes.c_int),
        *((name, ctypes.c_int64) for name in ("dk", "dv", "n_heads", "n_kv_heads", "n_tokens")),
        *((name, ctypes.c_int64) for name in ("n_keys", "n_streams")),
        *((name, ctypes.c_void_p) for name in ("q", "k", "v", "mask", "sinks")),
        *((name, ctypes.c_float) for name in ("scale", "max_bias", "softcap")),
    )


SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "corral_has_attention": (ctypes.c_bool, []),
    "corral_use_attention": (None, [ctypes.c_bool]),
    "corral_attend": (
        ctypes.c_double,
        [ctypes.POINTER(NativeAttention), ctypes.c_void_p, ctypes.c_int, ctypes.c_int],
    ),
}


@dataclass(frozen=True)
class Attention:
    """Queries, and the cache that they attend to. Arrays are contiguous."""

    q: Floats
    """[streams, tokens, heads, dk]."""
    k: Bytes
    """[streams, keys, KV heads, bytes]: a row of ggml's blocks for each KV head of a key."""
    v: Bytes
    k_type: int
    v_type: int
    dv: int
    mask: Halves | None = None
    """[streams, tokens, keys]: what is added to the scores; minus infinity hides a key."""
    sinks: Floats | None = None
    """[heads]: a score of each head that has no value."""
    scale: float = 0.125
    max_bias: float = 0.0
    """ALiBi's; 0: none."""
    softcap: float = 0.0

    @property
    def out_shape(self) -> tuple[int, int, int, int]:
        """The result's shape: [streams, tokens, heads, dv]."""
        n_streams, n_tokens, n_heads, _ = self.q.shape
        return (n_streams, n_tokens, n_heads, self.dv)

    def of_tokens(self, first: int, last: int) -> Attention:
        """Return the attention of these tokens alone."""
        mask = None if self.mask is None else np.ascontiguousarray(self.mask[:, first:last])
        return replace(self, q=np.ascontiguousarray(self.q[:, first:last]), mask=mask)

    def native(self) -> NativeAttention:
        """Return the C interface's form, valid as long as this. Raises ValueError: shapes don't fit."""
        n_streams, n_tokens, n_heads, dk = self.q.shape
        n_keys, n_kv_heads = self.k.shape[1:3]
        cells = (n_streams, n_keys, n_kv_heads)
        expected = ((*cells, row_size(self.k_type, dk)), (*cells, row_size(self.v_type, self.dv)))
        mask_shape = (n_streams, n_tokens, n_keys)
        if (self.k.shape, self.v.shape) != expected or (
            self.mask is not None and self.mask.shape != mask_shape
        ):
            raise ValueError(f"keys, values or mask aren't {expected}, {mask_shape}")
        arrays = (self.q, self.k, self.v, self.mask, self.sinks)
        pointers = [None if one is None else one.ctypes.data for one in arrays]
        counts = (dk, self.dv, n_heads, n_kv_heads, n_tokens, n_keys, n_streams)
        numbers = (self.scale, self.max_bias, self.softcap)
        return NativeAttention(self.k_type, self.v_type, *counts, *pointers, *numbers)
