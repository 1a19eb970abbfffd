"""CandidateBuffer: candidates of rows of logits in llama.cpp's layout (llama_token_data_array)."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import LlamaCppError
from models.llamacpp import library
from models.llamacpp.sampler import TOKEN_DATA, SamplerChain

_ROOM = 2048
"""Candidates that a new buffer has room for; it grows."""


class CandidateBuffer:
    """Memory for the candidates of all rows of a step; each step uses it again. One thread."""

    def __init__(self) -> None:
        native = library.load()
        self._array = native.llama_token_data_array()
        self._array_at = ctypes.addressof(self._array)
        self._apply = library.bind("llama_sampler_apply", None, ctypes.c_void_p, ctypes.c_void_p)
        self._pointer_type = ctypes.POINTER(native.llama_token_data)
        self._make_room(_ROOM)

    def fill(self, ids: npt.NDArray[np.integer[Any]], logits: npt.NDArray[np.float32]) -> None:
        """Copy candidates [n] in; those of a row must be adjacent and ascend by id."""
        n = len(ids)
        if n > len(self._candidates):
            self._make_room(2 * n)
        self._ids[:n] = ids
        self._logits[:n] = logits

    def sample(self, chain: SamplerChain, start: int, end: int) -> int:
        """Return the token that `chain` picks of the candidates from `start` to `end`, which it overwrites.

        The chain doesn't accept the token. Raises LlamaCppError if it picks none.
        """
        array = self._array
        data_at = self._data_at + start * TOKEN_DATA.itemsize
        array.data = ctypes.cast(data_at, self._pointer_type)
        array.size = end - start
        array.selected = -1
        array.sorted = False
        self._apply(chain.pointer, self._array_at)
        selected = int(array.selected)
        if not 0 <= selected < array.size:
            raise LlamaCppError(
                "the sampler picked no token: the logits aren't finite; the model may be damaged"
            )
        return int(array.data[selected].id)

    def _make_room(self, n: int) -> None:
        self._candidates = np.zeros(n, TOKEN_DATA)
        self._ids = self._candidates["id"]
        self._logits = self._candidates["logit"]
        self._data_at = self._candidates.ctypes.data
