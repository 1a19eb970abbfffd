"""LoRA adapters of a loaded model (llama_adapter_lora), and which of them a context applies."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from models.closing import Closing
from models.errors import LlamaCppError, ModelLoadError
from models.gguf.adapter_info import AdapterInfo, read_adapter_info
from models.gguf.info import read_gguf_info
from models.llamacpp import library
from models.llamacpp.context import Context
from models.llamacpp.errors import reason
from models.llamacpp.model import Model


class Adapter(Closing):
    """A loaded LoRA adapter.

    It owns one llama_adapter_lora until `close`, or its model's, which frees it too. No context may have it
    set when it is closed. `load`, `close` and `set_adapters` belong to the thread that decodes: llama.cpp
    reads the model's list of adapters when it plans a graph.
    """

    def __init__(self, pointer: int, model: Model, info: AdapterInfo) -> None:
        """Take ownership of `pointer`. Use `Adapter.load`."""
        self._pointer: int | None = pointer
        self._model = model
        self.info = info

    @classmethod
    def load(cls, model: Model, path: Path | str) -> Self:
        """Check the file against the model, then load it in addition to the model's weights.

        Blocks without the GIL. Raises InvalidGGUF for a file that doesn't fit, which llama.cpp then never
        sees, and ModelLoadError with llama.cpp's own reason.
        """
        info = read_adapter_info(Path(path), read_gguf_info(model.path))
        init = library.bind("llama_adapter_lora_init", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)
        with library.capture_errors() as lines:
            pointer = init(model.pointer, os.fsencode(info.path))
        if not pointer:
            why = reason(lines) or "llama.cpp gives no reason"
            raise ModelLoadError(f"the adapter {info.path} doesn't load: {why}; make or download it again")
        return cls(pointer, model, info)

    @property
    def pointer(self) -> int:
        """The llama_adapter_lora*, valid until `close`."""
        if self._pointer is None:
            raise LlamaCppError(f"the adapter {self.info.path.name} has been closed")
        _ = self._model.pointer  # the model's end was its end
        return self._pointer

    def close(self) -> None:
        """Free it. Safe to call twice, and after the model was closed."""
        pointer, self._pointer = self._pointer, None
        if pointer is None:
            return
        try:
            _ = self._model.pointer
        except ModelLoadError:
            return
        library.bind("llama_adapter_lora_free", None, ctypes.c_void_p)(pointer)


def set_adapters(context: Context, adapters: Sequence[tuple[Adapter, float]]) -> None:
    """Apply exactly these adapters, each with its scale, in all later decodes of `context`; none is fine.

    The KV cache isn't touched: what is in it was computed with the adapters of its time. Another set than the
    last makes the next decode plan its graphs again, which costs it milliseconds. Raises LlamaCppError for an
    adapter of another model, or given twice.
    """
    for adapter, _ in adapters:
        if adapter._model is not context.model:  # noqa: SLF001 - of the same package
            raise LlamaCppError(f"the adapter {adapter.info.path.name} was loaded for another model")
    if len({adapter.pointer for adapter, _ in adapters}) != len(adapters):
        raise LlamaCppError("an adapter is given twice in one set; give it once, with the sum of its scales")
    count = len(adapters)
    pointers: Any = (ctypes.c_void_p * count)(*(adapter.pointer for adapter, _ in adapters))
    scales: Any = (ctypes.c_float * count)(*(scale for _, scale in adapters))
    function = library.bind(
        "llama_set_adapters_lora",
        ctypes.c_int32,
        ctypes.c_void_p,
        ctypes.POINTER(ctypes.c_void_p),
        ctypes.c_size_t,
        ctypes.POINTER(ctypes.c_float),
    )
    status = int(function(context.pointer, pointers, count, scales))
    if status:
        raise LlamaCppError(f"llama.cpp refused a set of {count} adapters (status {status})")
