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
        self._address: int | None = None
        self._views: list[Rows] = []
        """Views of each layer's memory; the first begins at the address, and they move together, seldom."""
        context.at_each_opening(self._show)

    def _show(self, pointer: int) -> None:
        self._address = None
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
        pointer = self._context.pointer
        address = self._layer(pointer, self._layers[0]) if self._layers else self._last(pointer)
        if not address or address != self._address or n_rows > len(self._views[0]):
            self._look(address, n_rows)
        return [view[:n_rows] for view in self._views]

    def _look(self, address: int | None, n_rows: int) -> None:
        """Make the views: what lies there stays until llama.cpp takes more memory, elsewhere."""
        if not address:
            raise LlamaCppError("the last decode left no hidden states")
        pointer, model = self._context.pointer, self._context.model
        if self._layers:
            addresses = [self._layer(pointer, layer) for layer in self._layers]
            self._views = [_view(each, n_rows, model.n_embd) for each in addresses]
        else:
            self._views = [_view(address, n_rows, model.n_embd_out)]
        self._address = address


def _view(address: int, n_rows: int, width: int) -> Rows:
    floats = (ctypes.c_float * (n_rows * width)).from_address(address)
    rows: Rows = np.frombuffer(memoryview(floats), np.float32)
    return rows.reshape(n_rows, width)
