"""Candidates of rows of logits, laid out as llama.cpp's samplers take them (llama_token_data_array)."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import LlamaCppError
from models.llamacpp import library
from models.llamacpp.sampler import Sampler

_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])  # llama_token_data
_ROOM = 2048


class CandidateBuffer:
    """Memory for the candidates of all rows of a step, reused from step to step. One thread."""

    def __init__(self) -> None:
        native = library.load()
        self._array = native.llama_token_data_array()
        self._array_at = ctypes.addressof(self._array)
        self._apply = library.bind("llama_sampler_apply", None, ctypes.c_void_p, ctypes.c_void_p)
        self._pointer_type = ctypes.POINTER(native.llama_token_data)
        self._make_room(_ROOM)

    def fill(self, ids: npt.NDArray[np.integer[Any]], logits: npt.NDArray[np.float32]) -> None:
        """Take candidates [n], those of a row beside each other and ascending by id."""
        n = len(ids)
        if n > len(self._candidates):
            self._make_room(2 * n)
        self._ids[:n] = ids
        self._logits[:n] = logits

    def sample(self, chain: Sampler, start: int, end: int) -> int:
        """The token that `chain` picks of the candidates from `start` to `end`; they are used up.

        The chain isn't told of the token (`Sampler.accept`). Raises LlamaCppError if it picks none.
        """
        array = self._array
        data_at = self._data_at + start * _CANDIDATE.itemsize
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
        self._candidates = np.zeros(n, _CANDIDATE)
        self._ids = self._candidates["id"]
        self._logits = self._candidates["logit"]
        self._data_at = self._candidates.ctypes.data
