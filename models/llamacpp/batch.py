"""The tokens, or the embeddings, of one decode (llama_batch), filled through numpy."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from models.errors import LlamaCppError
from models.llamacpp import library

_FEW_TOKENS = 32
"""Batches of at most this many tokens are set token by token, which is quicker for them."""


class TokenBatch:
    """Room for `n_tokens_max` tokens, each of one sequence; reused from decode to decode. One thread.

    The memory is numpy's and `native` only points into it, so nothing is to be freed. Token i of the
    batch has logits if it was added with output; row r of
    `Context.logits()` belongs to token `output_indices[r]`: outputs keep the order of the batch.
    """

    def __init__(self, n_tokens_max: int, n_embd: int = 0) -> None:
        """`n_embd`: of the embeddings that may take the tokens' place, see `use_embeddings`; 0: never."""
        if n_tokens_max < 1:
            raise LlamaCppError(f"a batch must hold at least 1 token, not {n_tokens_max}")
        native = library.load()
        self.n_tokens_max = n_tokens_max
        self.tokens: npt.NDArray[np.int32] = np.zeros(n_tokens_max, np.int32)
        self.positions: npt.NDArray[np.int32] = np.zeros(n_tokens_max, np.int32)
        self.seq_ids: npt.NDArray[np.int32] = np.zeros(n_tokens_max, np.int32)
        self.outputs: npt.NDArray[np.int8] = np.zeros(n_tokens_max, np.int8)
        # Setting single values through these costs less than through numpy.
        self._views = (
            self.tokens.data,
            self.positions.data,
            self.seq_ids.data,
            self.outputs.data,
        )
        self._n_seq_id: npt.NDArray[np.int32] = np.ones(n_tokens_max, np.int32)
        # llama_seq_id **: each token's list of sequences has one entry, inside `seq_ids`.
        self._seq_id_pointers: npt.NDArray[np.uint64] = (
            np.arange(n_tokens_max, dtype=np.uint64) * self.seq_ids.itemsize + self.seq_ids.ctypes.data
        )
        i32_p = ctypes.POINTER(ctypes.c_int32)
        self.native = native.llama_batch(
            0,
            self.tokens.ctypes.data_as(i32_p),
            None,
            self.positions.ctypes.data_as(i32_p),
            self._n_seq_id.ctypes.data_as(i32_p),
            self._seq_id_pointers.ctypes.data_as(ctypes.POINTER(i32_p)),
            self.outputs.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )
        self.n_tokens = 0
        self.embeddings: npt.NDArray[np.float32] = np.zeros(
            (n_tokens_max if n_embd else 0, n_embd), np.float32
        )
        self._token_pointer = self.native.token

    def use_embeddings(self, use: bool, *, beside_tokens: bool = False) -> None:
        """Let llama.cpp read `embeddings` [n_tokens, n_embd] in place of `tokens`, or the tokens again.

        With `beside_tokens` it reads both, as a draft head does.
        """
        f32_p = ctypes.POINTER(ctypes.c_float)
        self.native.embd = self.embeddings.ctypes.data_as(f32_p) if use else None
        self.native.token = None if use and not beside_tokens else self._token_pointer

    def __len__(self) -> int:
        return self.n_tokens

    def clear(self) -> None:
        self.n_tokens = 0

    def add(self, token: int, pos: int, seq_id: int, output: bool) -> int:
        """Append one token and return its index in the batch. Raises LlamaCppError when full."""
        index = self._reserve(1)
        self.tokens[index] = token
        self.positions[index] = pos
        self.seq_ids[index] = seq_id
        self.outputs[index] = output
        return index

    def add_many(
        self,
        tokens: Sequence[int] | npt.NDArray[np.int32],
        pos0: int,
        seq_id: int,
        *,
        output_last: bool,
        output_all: bool = False,
    ) -> int:
        """Append `tokens` at positions pos0, pos0 + 1, … and return the index of the last.

        Logits for the last token only, or for all with `output_all`. Raises LlamaCppError: no room, or
        no tokens.
        """
        count = len(tokens)
        if count == 0:
            raise LlamaCppError("no tokens to add to the batch")
        start = self._reserve(count)
        end = start + count
        self.tokens[start:end] = tokens
        self.positions[start:end] = np.arange(pos0, pos0 + count, dtype=np.int32)
        self.seq_ids[start:end] = seq_id
        self.outputs[start:end] = output_all
        if output_last:
            self.outputs[end - 1] = 1
        return end - 1

    def fill(
        self, tokens: Sequence[int], positions: Sequence[int], seq_ids: Sequence[int], outputs: Sequence[int]
    ) -> None:
        """Replace the content by these, one of each per token; an output of 1 asks for logits.

        Raises LlamaCppError when there are more than fit.
        """
        self.n_tokens = 0
        n = len(tokens)
        self._reserve(n)
        if n > _FEW_TOKENS:
            self.tokens[:n] = tokens
            self.positions[:n] = positions
            self.seq_ids[:n] = seq_ids
            self.outputs[:n] = outputs
            return
        into_tokens, into_positions, into_seq_ids, into_outputs = self._views
        for i in range(n):
            into_tokens[i] = tokens[i]
            into_positions[i] = positions[i]
            into_seq_ids[i] = seq_ids[i]
            into_outputs[i] = outputs[i]

    @property
    def output_flags(self) -> bytes:
        """1 for each token with output, else 0."""
        return self._views[3][: self.n_tokens].tobytes()

    @property
    def output_indices(self) -> npt.NDArray[np.intp]:
        """Batch indices of the tokens with output, ascending: entry r is row r of the logits."""
        return np.flatnonzero(self.outputs[: self.n_tokens])

    @property
    def n_outputs(self) -> int:
        return int(np.count_nonzero(self.outputs[: self.n_tokens]))

    def _reserve(self, count: int) -> int:
        start = self.n_tokens
        if start + count > self.n_tokens_max:
            raise LlamaCppError(
                f"{count} more tokens don't fit a batch of {self.n_tokens_max} that holds {start}; "
                "split the prompt into smaller chunks"
            )
        self.n_tokens = start + count
        return start


class EmbeddingBatch:
    """Embeddings of one sequence for one decode, without logits. Its memory is numpy's."""

    def __init__(
        self, embeddings: npt.NDArray[np.float32], positions: npt.NDArray[np.int32], seq_id: int
    ) -> None:
        """`embeddings` [n_tokens, n_embd]; `positions` [n_tokens], or [4, n_tokens] for M-RoPE."""
        n = len(embeddings)
        if n == 0 or positions.shape[-1] != n:
            raise LlamaCppError(f"{n} embeddings with {positions.shape[-1]} positions")
        self.n_tokens = n
        self._embeddings = np.ascontiguousarray(embeddings, np.float32)
        self._positions = np.ascontiguousarray(positions, np.int32)
        self._seq_ids: npt.NDArray[np.int32] = np.full(n, seq_id, np.int32)
        self._n_seq_id: npt.NDArray[np.int32] = np.ones(n, np.int32)
        self._outputs: npt.NDArray[np.int8] = np.zeros(n, np.int8)
        self._seq_id_pointers: npt.NDArray[np.uint64] = (
            np.arange(n, dtype=np.uint64) * self._seq_ids.itemsize + self._seq_ids.ctypes.data
        )
        i32_p = ctypes.POINTER(ctypes.c_int32)
        self.native = library.load().llama_batch(
            n,
            None,
            self._embeddings.ctypes.data_as(ctypes.POINTER(ctypes.c_float)),
            self._positions.ctypes.data_as(i32_p),
            self._n_seq_id.ctypes.data_as(i32_p),
            self._seq_id_pointers.ctypes.data_as(ctypes.POINTER(i32_p)),
            self._outputs.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )

    @property
    def output_flags(self) -> bytes:
        """0 for each embedding."""
        return bytes(self.n_tokens)
