"""`DeviceTopK`: the k largest logits of a row, found on the device that computes it.

llama.cpp can run samplers as part of the graph, a chain per sequence. Of those only top-k is used here, the
same for every sequence that is on:

    logits [n_vocab] on the device ──top-k──▶ k ids and k logits ──▶ host, whose own chain chooses

Not further: a chain that draws on the device gives other tokens for a seed (its sums are float32, and a
device's top-k leaves the k in no order), holds a request's state, copies whole rows nonetheless unless it
truncates, and every change of it has all graphs reserved again. This one is set once and has no state.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from models.errors import LlamaCppError
from models.llamacpp import library

logger = logging.getLogger("corral.llama")

Ids = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]


class LogitsOwner(Protocol):
    """The context that has the logits (`models.llamacpp.context.Context`)."""

    n_seq_max: int
    n_vocab: int

    @property
    def pointer(self) -> int:
        """The llama_context*; raises ContextError when it has been closed."""

    def output_place(self, i: int) -> tuple[int, int]:
        """Return (row, number of rows) of token i among the last batch's outputs."""


class DeviceTopK:
    """Owned by its Context (`Context.device_top_k`), which frees it. One thread, the one that decodes.

    A sequence that is on may have one output per decode, and its row of `Context.logits` isn't there: it
    has `rows` instead. Each change costs the next decode milliseconds, as llama.cpp reserves its graphs
    again; while any sequence is on, an output takes four rows of the host's memory instead of one.
    """

    def __init__(self, context: LogitsOwner, k: int) -> None:
        """Use `Context.device_top_k`."""
        self.k = k
        self._context = context
        self._native = library.load()
        self._chains: dict[int, Any] = {}
        """The chains by sequence. llama.cpp borrows a chain while it is set, and takes each only once."""
        at = (ctypes.c_void_p, ctypes.c_int32)
        self._set = library.bind(
            "llama_set_sampler", ctypes.c_bool, ctypes.c_void_p, ctypes.c_int32, ctypes.c_void_p
        )
        self._logits = library.bind("llama_get_sampled_logits_ith", ctypes.c_void_p, *at)
        self._ids = library.bind("llama_get_sampled_candidates_ith", ctypes.c_void_p, *at)
        self._n_ids = library.bind("llama_get_sampled_candidates_count_ith", ctypes.c_uint32, *at)

    def __contains__(self, seq_id: int) -> bool:
        """Return True if a sequence is on."""
        return seq_id in self._chains

    def __len__(self) -> int:
        """Return the number of sequences that are on."""
        return len(self._chains)

    def turn_on(self, seq_ids: Sequence[int]) -> bool:
        """Leave the rows of these sequences on the device. Return False if it can't: then none is on."""
        for seq_id in seq_ids:
            if seq_id in self._chains:
                continue
            if not 0 <= seq_id < self._context.n_seq_max:
                raise LlamaCppError(
                    f"sequence {seq_id}; this context has {self._context.n_seq_max}, counted from 0"
                )
            if not self._turn_on(seq_id):
                logger.debug("the device can't find the %d largest logits; the host does", self.k)
                self.turn_off(seq_ids)
                return False
        return True

    def _turn_on(self, seq_id: int) -> bool:
        chain, stage = self._chain()
        if not self._set(self._context.pointer, seq_id, chain):
            self._native.llama_sampler_free(chain)
            return False
        self._chains[seq_id] = chain
        # It is set even if the device lacks an operation: then the stage's name begins with a minus.
        return bool(self._native.llama_sampler_name(stage).startswith(b"+"))

    def turn_off(self, seq_ids: Sequence[int]) -> None:
        """Bring whole rows of these sequences to the host again; those that aren't on are no error."""
        for seq_id in seq_ids:
            chain = self._chains.pop(seq_id, None)
            if chain is not None:
                self._set(self._context.pointer, seq_id, None)
                self._native.llama_sampler_free(chain)

    def rows(self, index: int) -> tuple[Ids, Floats]:
        """Return ids and logits, views [n_outputs, k] in no order, of the last batch's outputs.

        Row r is that of output r, as in `Context.logits`, and means nothing where the sequence isn't on.
        Valid until the next decode or close. `index`: any token of the batch whose sequence is on. Raises
        LlamaCppError if the device has left nothing there.
        """
        row, n_rows = self._context.output_place(index)
        pointer = self._context.pointer
        logits_at = self._logits(pointer, index)
        if not logits_at or self._n_ids(pointer, index) != self.k:
            raise LlamaCppError(f"token {index} of the last batch has no candidates; turn its sequence on")
        n_vocab = self._context.n_vocab
        before = row * n_vocab * ctypes.sizeof(ctypes.c_float)
        logits = (ctypes.c_float * (n_rows * n_vocab)).from_address(logits_at - before)
        ids = (ctypes.c_int32 * (n_rows * n_vocab)).from_address(self._ids(pointer, index) - before)
        return (
            np.frombuffer(memoryview(ids), np.int32).reshape(n_rows, n_vocab)[:, : self.k],
            np.frombuffer(memoryview(logits), np.float32).reshape(n_rows, n_vocab)[:, : self.k],
        )

    def free(self) -> None:
        """Free the chains after the context, which borrowed them. Safe to call twice."""
        while self._chains:
            self._native.llama_sampler_free(self._chains.popitem()[1])

    def _chain(self) -> tuple[Any, Any]:
        options = self._native.llama_sampler_chain_default_params()
        options.no_perf = True
        chain = self._native.llama_sampler_chain_init(options)
        stage = self._native.llama_sampler_init_top_k(self.k)
        self._native.llama_sampler_chain_add(chain, stage)  # which owns it from here on
        return chain, stage
