"""`kept_on_cpu`: llama.cpp's overrides for tensors that don't go where their layer goes."""

from __future__ import annotations

import ctypes
from collections.abc import Collection
from typing import Any

from models.expert_tensors import experts_pattern
from models.llamacpp import library


class _Override(ctypes.Structure):  # llama_model_tensor_buft_override
    _fields_ = (("pattern", ctypes.c_char_p), ("buffer_type", ctypes.c_void_p))


OUTPUT_PATTERN = r"^(output|token_embd)\.weight$"
"""The matrix that makes logits: its own, or that of the token embeddings where it is tied to them."""


def kept_on_cpu(experts: Collection[int], *, output: bool = False) -> ctypes.Array[Any] | None:
    """Return the overrides that keep the experts of some layers in the host's memory; None for nothing.

    With `output` the output matrix stays, too. llama.cpp reads them until the model is loaded: the caller
    holds them so long. Told the CPU's plain buffer type it chooses as for a layer that is there: our matrix
    kernels' places come first.
    """
    patterns = [experts_pattern(experts)] if experts else []
    if output:
        patterns.append(OUTPUT_PATTERN)
    if not patterns:
        return None
    cpu = library.bind("ggml_backend_cpu_buffer_type", ctypes.c_void_p)()
    overrides = [_Override(pattern.encode(), cpu) for pattern in patterns]
    return (_Override * (len(overrides) + 1))(*overrides, _Override(None, None))
