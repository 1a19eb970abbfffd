"""`Sequences`: the memory of a context, KV cache or recurrent states, to forget, copy and save."""

from __future__ import annotations

import ctypes
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import ModuleType

from models.errors import LlamaCppError
from models.llamacpp import library
from models.llamacpp.errors import reason
from models.llamacpp.model import Model
from models.llamacpp.sequence_state import Buffer, new_state, with_streams

_WHOLE, _PARTIAL = 0, 1
"""llama.cpp's LLAMA_STATE_SEQ_FLAGS: all of a sequence, or only what can't be cut back."""


class Sequences(ABC):
    """The memory of a Context, which is its only subclass; it isn't made alone.

    Sequence ids run from 0 to n_seq_max - 1, positions from 0; a range is [p0, p1), where p1 None means to
    the end. One thread, the one that decodes.
    """

    model: Model
    kv_unified: bool
    n_seq_max: int
    _native: ModuleType
    _memory: int | None

    @property
    @abstractmethod
    def pointer(self) -> int:
        """The llama_context*; raises ContextError when it has been closed."""

    def clear(self) -> None:
        """Forget every sequence."""
        self._native.llama_memory_clear(self._cells(), True)

    def seq_rm(self, seq_id: int, p0: int = 0, p1: int | None = None) -> bool:
        """Forget positions [p0, p1) of a sequence. False if the model can't forget a part (recurrent)."""
        return bool(self._native.llama_memory_seq_rm(self._cells(), self._check(seq_id), p0, _end(p1)))

    def seq_cp(self, src: int, dst: int, p0: int = 0, p1: int | None = None) -> None:
        """Give sequence `dst` the positions [p0, p1) of `src`, which keeps them.

        Unified cache: cells are shared, nothing is copied. Streams: the whole stream is copied at the
        next decode, what `dst` held before is lost, and the rest is trimmed off.
        """
        self._check(src)
        self._check(dst)
        if src == dst:
            return
        if self.kv_unified:
            self._native.llama_memory_seq_cp(self._cells(), src, dst, p0, _end(p1))
            return
        # Between streams llama.cpp copies all or aborts.
        self._native.llama_memory_seq_cp(self._cells(), src, dst, -1, -1)
        if p0 > 0:
            self.seq_rm(dst, 0, p0)
        if p1 is not None:
            self.seq_rm(dst, p1, None)

    def seq_pos_min(self, seq_id: int) -> int | None:
        """Return the smallest position held of a sequence (above 0 with a sliding window); None if empty."""
        found = int(self._native.llama_memory_seq_pos_min(self._cells(), self._check(seq_id)))
        return None if found < 0 else found

    def seq_pos_max(self, seq_id: int) -> int | None:
        """Return the largest position held of a sequence; None if it is empty."""
        found = int(self._native.llama_memory_seq_pos_max(self._cells(), self._check(seq_id)))
        return None if found < 0 else found

    def state_seq_get(
        self, seq_id: int, memory: Callable[[int], memoryview] = new_state, *, partial: bool = False
    ) -> memoryview:
        """Return the cache of one sequence, for `state_seq_set` of a context with the same model.

        It may have other KV streams, if the state is of the form in `sequence_state`. With `partial` it is
        only what can't be cut back: recurrent states, and the cells of a sliding window. Raises LlamaCppError
        if llama.cpp can't save it. `memory`: gives the memory for so many bytes.
        """
        return with_streams(self.state_seq_take(seq_id, memory, partial=partial), 1)

    def state_seq_take(
        self, seq_id: int, memory: Callable[[int], memoryview] = new_state, *, partial: bool = False
    ) -> memoryview:
        """Return the cache of one sequence, for `state_seq_put` of a context with as many KV streams.

        `partial` is that of `state_seq_get`. Raises LlamaCppError if llama.cpp can't save it.
        """
        flags = _PARTIAL if partial else _WHOLE
        size = int(self._native.llama_state_seq_get_size_ext(self.pointer, self._check(seq_id), flags))
        state = memory(size)
        buffer = (ctypes.c_uint8 * size).from_buffer(state)
        with library.capture_errors() as lines:
            written = int(
                self._native.llama_state_seq_get_data_ext(self.pointer, buffer, size, seq_id, flags)
            )
        if written != size:
            raise LlamaCppError(f"sequence {seq_id} can't be saved: {reason(lines) or 'no reason given'}")
        return state

    def state_seq_set(self, seq_id: int, state: Buffer, *, partial: bool = False) -> None:
        """Replace a sequence by a saved one; with `partial`, only that part of it.

        Raises LlamaCppError if it doesn't fit this context. `state` must be what `state_seq_get` gave:
        llama.cpp believes it.
        """
        if self.kv_unified or self.n_seq_max == 1:
            self.state_seq_put(seq_id, state, partial=partial)
        else:
            self.state_seq_put(seq_id, with_streams(state, self.n_seq_max), partial=partial)

    def state_seq_put(self, seq_id: int, state: Buffer, *, partial: bool = False) -> None:
        """Replace a sequence by what `state_seq_take` gave; writable memory isn't copied.

        Raises LlamaCppError if it doesn't fit this context.
        """
        flags = _PARTIAL if partial else _WHOLE
        as_bytes = ctypes.c_uint8 * len(state)
        readonly = memoryview(state).readonly
        buffer = as_bytes.from_buffer_copy(state) if readonly else as_bytes.from_buffer(state)
        with library.capture_errors() as lines:
            read = int(
                self._native.llama_state_seq_set_data_ext(
                    self.pointer, buffer, len(state), self._check(seq_id), flags
                )
            )
        if read == 0:
            raise LlamaCppError(
                f"a saved sequence doesn't fit this context: {reason(lines) or 'no reason given'}"
            )

    def seq_rewind(self, seq_id: int, n_tokens: int, state: Buffer) -> None:
        """Cut a sequence back to its first `n_tokens`, after which `state` was its partial one.

        The rest of its cache must still have those tokens. Raises LlamaCppError, and leaves anything there,
        if that isn't what it has then.
        """
        self.state_seq_set(seq_id, state, partial=True)
        if not self.seq_rm(seq_id, n_tokens, None) or self.seq_pos_max(seq_id) != n_tokens - 1:
            raise LlamaCppError(f"sequence {seq_id} can't be taken back to its first {n_tokens:,} tokens")

    def _cells(self) -> int:
        _ = self.pointer
        if self._memory is None:
            raise LlamaCppError(f"{self.model.path.name} has no cache (an encoder-only model)")
        return self._memory

    def _check(self, seq_id: int) -> int:
        if not 0 <= seq_id < self.n_seq_max:
            raise LlamaCppError(f"sequence {seq_id}; this context has {self.n_seq_max}, counted from 0")
        return seq_id


def _end(p1: int | None) -> int:
    return -1 if p1 is None else p1
