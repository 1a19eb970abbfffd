"""`experts_on_cpu`: llama.cpp's overrides for tensors that don't go where their layer goes."""

from __future__ import annotations

import ctypes
from collections.abc import Collection
from typing import Any

from models.expert_tensors import experts_pattern
from models.llamacpp import library


class _Override(ctypes.Structure):  # llama_model_tensor_buft_override
    _fields_ = (("pattern", ctypes.c_char_p), ("buffer_type", ctypes.c_void_p))


def experts_on_cpu(layers: Collection[int]) -> ctypes.Array[Any]:
    """Return the overrides that keep the experts of `layers`, at least one, in the host's memory.

    llama.cpp reads them until the model is loaded: the caller holds them so long. Told the CPU's plain buffer
    type it chooses as for a layer that is there: our matrix kernels' places come first.
    """
    cpu = library.bind("ggml_backend_cpu_buffer_type", ctypes.c_void_p)()
    end = _Override(None, None)
    return (_Override * 2)(_Override(experts_pattern(layers).encode(), cpu), end)
