"""`HiddenStates`: vectors inside a model that a decode leaves beside its logits, for heads that draft."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from models.errors import LlamaCppError
from models.llamacpp import library
from models.llamacpp.context import Context

SHOWN_LAYERS: Final = frozenset(
    (
        "bailingmoe3",
        "deepseek4",
        "gemma4",
        "hunyuan_vl",
        "lfm2",
        "llama",
        "mimo2",
        "minimax-01",
        "minimax-m2",
        "muse-glimmer",
        "nanbeige",
        "nemotron_h",
        "gpt-oss",
        "qwen3",
        "qwen35",
        "qwen35moe",
        "qwen3moe",
        "qwen3next",
        "qwen4exp",
    )
)
"""The architectures whose graphs name the input of each layer; others end the process when asked for one."""

Rows = npt.NDArray[np.float32]


class HiddenStates:
    """The inputs of some layers, or what comes before the last norm, of each decode of a context.

    One thread, the context's. They are on from construction, also after the context is allocated anew.
    """

    def __init__(self, context: Context, layers: Sequence[int] = ()) -> None:
        """`layers`: those whose inputs are wanted; none: what comes before the last norm, or what stands
        there in a head. Of all tokens: of outputs alone llama.cpp takes the wrong rows of some heads.

        Raises LlamaCppError if the architecture doesn't show its layers, or has fewer.
        """
        architecture = context.model.metadata.get("general.architecture", "")
        if layers and architecture not in SHOWN_LAYERS:
            raise LlamaCppError(f"llama.cpp doesn't show the layers of {architecture}")
        if not all(0 <= layer < context.model.n_layer for layer in layers):
            raise LlamaCppError(f"layers {list(layers)} of a model with {context.model.n_layer}")
        pointer, flag = ctypes.c_void_p, ctypes.c_bool
        self._context = context
        self._layers = tuple(layers)
        self._show_layer = library.bind(
            "_Z30llama_set_embeddings_layer_inpP13llama_contextjb", None, pointer, ctypes.c_uint32, flag
        )
        self._show_last = library.bind(
            "_Z26llama_set_embeddings_nextnP13llama_contextbb", None, pointer, flag, flag
        )
        self._layer = library.bind(
            "_Z30llama_get_embeddings_layer_inpP13llama_contextj", pointer, pointer, ctypes.c_uint32
        )
        self._last = library.bind("_Z26llama_get_embeddings_nextnP13llama_context", pointer, pointer)
        context.at_each_opening(self._show)

    def _show(self, pointer: int) -> None:
        for layer in self._layers:
            self._show_layer(pointer, layer, True)
        if not self._layers:
            self._show_last(pointer, True, False)

    @property
    def width(self) -> int:
        """The numbers of a token's states, all layers' side by side."""
        model = self._context.model
        return model.n_embd * len(self._layers) if self._layers else model.n_embd_out

    def rows(self, n_rows: int) -> list[Rows]:
        """Return the last decode's or encode's states, [n_rows, n] each: one view for each layer.

        Valid until the next decode. `n_rows` must be the tokens of that batch. Raises LlamaCppError if it
        left none.
        """
        pointer, model = self._context.pointer, self._context.model
        if not self._layers:
            return [_view(self._last(pointer), n_rows, model.n_embd_out)]
        return [_view(self._layer(pointer, layer), n_rows, model.n_embd) for layer in self._layers]


def _view(address: int | None, n_rows: int, width: int) -> Rows:
    if not address:
        raise LlamaCppError("the last decode left no hidden states")
    floats = (ctypes.c_float * (1 << (n_rows * width - 1).bit_length())).from_address(address)
    rows: Rows = np.frombuffer(memoryview(floats), np.float32, n_rows * width)
    return rows.reshape(n_rows, width)
