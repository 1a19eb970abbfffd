"""The comparison of what the kernels' library was compiled against with what is loaded here."""

from __future__ import annotations

from collections.abc import Mapping

from models.llamacpp import kernel_library
from models.llamacpp.kernel_library import KernelLibrary
from models.llamacpp.library import REQUIRED_VERSION

OBJECT_BYTES = 32
"""GGML_OBJECT_SIZE, which `ggml_tensor_overhead` counts beside the tensor."""

LAYOUTS: Mapping[str, int] = {
    "ggml_tensor": 336,
    "ggml_tensor.type": 0,
    "ggml_tensor.buffer": 8,
    "ggml_tensor.ne": 16,
    "ggml_tensor.nb": 48,
    "ggml_tensor.op": 80,
    "ggml_tensor.op_params": 84,
    "ggml_tensor.src": 152,
    "ggml_tensor.data": 248,
    "ggml_backend_buffer_type": 64,
    "ggml_backend_buffer_type.device": 48,
    "ggml_backend_buffer_type.context": 56,
    "ggml_backend_buffer": 120,
    "ggml_backend_buffer.buft": 88,
    "ggml_backend_buffer.size": 104,
    "ggml_compute_params": 40,
    "ggml_compute_params.wdata": 16,
    "ggml_compute_params.threadpool": 24,
    "GGML_TYPE_COUNT": 43,
    "GGML_OP_MUL_MAT": 29,
    "GGML_OP_MUL_MAT_ID": 30,
    "GGML_OP_FLASH_ATTN_EXT": 74,
    "GGML_OP_UNARY": 91,
    "GGML_OP_GLU": 100,
    "GGML_UNARY_OP_GELU": 8,
    "GGML_GLU_OP_GEGLU": 1,
}
"""The layouts of the pinned llama.cpp. A library with others would read ggml's structs wrongly."""


def mismatch(library: KernelLibrary) -> str | None:
    """Return how the library differs from what is loaded; None if they belong together."""
    if library.bindings_version != REQUIRED_VERSION:
        found = library.bindings_version
        return f"it was compiled for llama-cpp-python {found}, and this is {REQUIRED_VERSION}"
    if library.ggml_version != kernel_library.ggml_version():
        return f"it was compiled for ggml {library.ggml_version}, and this is {kernel_library.ggml_version()}"
    compiled = library.layouts()
    for name in sorted({*LAYOUTS, *compiled}):
        if compiled.get(name) != LAYOUTS.get(name):
            return f"it has {name} at {compiled.get(name)}, and llama.cpp at {LAYOUTS.get(name)}"
    tensor_bytes = kernel_library.tensor_overhead() - OBJECT_BYTES
    if compiled["ggml_tensor"] != tensor_bytes:
        return f"its tensors have {compiled['ggml_tensor']} bytes, and ggml's {tensor_bytes}"
    return None
