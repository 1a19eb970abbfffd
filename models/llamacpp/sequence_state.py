"""The form of a saved sequence: llama.cpp's bytes, made independent of the number of KV streams. Pure.

`llama_state_seq_get_data` writes the sequence's cells once per KV stream, empty for all streams but one, and
reads only what has as many streams as the context. So a state is kept as if there were one stream:

    magic, sequence id | n_streams, then for each stream its number of cells and, if there are any, the cells
                         ╰──────────────── once per KV cache; two with a sliding window ───────────────────╯

    a stream's cells     for each cell: position, 1, sequence id | V lies transposed, n_layers
                         for each layer: type of K, bytes of a row, rows
                         for each layer that has one: the same of V, or, transposed, type, size, n_rows, rows

What doesn't have this form to its last byte (recurrent states, cells with more than a position) stays as it
is: it fits a context with as many streams as that which wrote it.
"""

from __future__ import annotations

import mmap
import struct
import threading
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

Buffer: TypeAlias = bytes | bytearray | memoryview
"""Bytes of a state, wherever they lie."""

_HEAD_BYTES = 8
_U32 = struct.Struct("<I")
_CELL_BYTES = 12
_KEY_ROWS = struct.Struct("<iQ")
_TRANSPOSED_ROWS = struct.Struct("<iII")
_MAX_STREAMS = 256
_MAX_CACHES = 2


class _OtherForm(Exception):
    """The bytes have another form."""


@dataclass(frozen=True)
class _Cache:
    """One KV cache's part of a state: where its streams' numbers of cells stand, and where it ends."""

    start: int
    n_streams: int
    cells_at: int | None
    """The place of the one stream that isn't empty; None: all are."""
    cells_end: int
    end: int


def new_state(n_bytes: int) -> memoryview:
    """Return memory to be filled. numpy's comes in large pages: 72 MiB are 550 page faults, not 18,000."""
    return np.empty(n_bytes, np.uint8).data


class StateMemory:
    """Memory for one state after another.

    What was given back is used again: to fill fresh memory of 72 MiB takes 10 to 200 ms of page faults, to
    copy a state there 8 ms (`state_seq_take`, two cores of a virtual machine). Any thread may call.
    """

    def __init__(self, spare_bytes_max: int) -> None:
        """Two pieces are kept, one to be filled while the other is read; a larger one than this isn't."""
        self._spare_bytes_max = spare_bytes_max
        self._spares: list[np.ndarray] = []
        self._lock = threading.Lock()

    def take(self, n_bytes: int) -> memoryview:
        """Return memory to be filled, which nobody else uses."""
        with self._lock:
            fitting = [i for i, spare in enumerate(self._spares) if spare.nbytes >= n_bytes]
            if fitting:
                return self._spares.pop(fitting[0]).data[:n_bytes]
            self._spares.clear()
        return new_state(n_bytes)

    def give_back(self, state: memoryview) -> None:
        """Take a piece, or a part of it, back: nobody reads it any more."""
        piece = state.obj
        if isinstance(piece, np.ndarray) and piece.nbytes <= self._spare_bytes_max:
            with self._lock:
                self._spares = sorted([*self._spares, piece], key=lambda spare: spare.nbytes)[-2:]

    def is_to_grow(self, n_bytes: int) -> bool:
        """Return True if a state of so many bytes would find no memory here, but may."""
        with self._lock:
            return n_bytes <= self._spare_bytes_max and all(spare.nbytes < n_bytes for spare in self._spares)

    def grow(self, n_bytes: int) -> None:
        """Make memory of so many bytes, and a sixteenth, ready with all its pages, unless it is by now."""
        if not self.is_to_grow(n_bytes):
            return
        piece = np.zeros(min(n_bytes + n_bytes // 16, self._spare_bytes_max), np.uint8)
        piece[:: mmap.PAGESIZE] = 0
        self.give_back(piece.data)


def with_streams(state: Buffer, n_streams: int) -> memoryview:
    """Return the state as a context with so many KV streams takes it: itself, changed or not, or a copy.

    A state of another form stays as it is.
    """
    whole = memoryview(state)
    try:
        caches = _caches(whole)
    except (_OtherForm, struct.error):
        return whole
    if all(cache.n_streams == n_streams for cache in caches):
        return whole
    if len(caches) == n_streams == 1 and not whole.readonly:
        return _beginning_later(whole, caches[0])
    parts: list[Buffer] = [whole[:_HEAD_BYTES]]
    for cache in caches:
        n_empty = n_streams - (cache.cells_at is not None)
        cells = whole[cache.cells_at or cache.start + 4 : cache.cells_end]
        parts += [_U32.pack(n_streams), cells, bytes(4 * n_empty)]
    made = new_state(sum(memoryview(part).nbytes for part in parts))
    place = 0
    for part in parts:
        n_bytes = memoryview(part).nbytes
        made[place : place + n_bytes] = part
        place += n_bytes
    return made


def _beginning_later(state: memoryview, cache: _Cache) -> memoryview:
    """Return the state of one stream, which stands within that of several: only its head is to be moved."""
    first = cache.start + 4
    cells_at, end = (first, first + 4) if cache.cells_at is None else (cache.cells_at, cache.cells_end)
    start = cells_at - first
    state[start:cells_at] = bytes(state[: cache.start]) + _U32.pack(1)
    return state[start:end]


def _caches(state: memoryview) -> list[_Cache]:
    """Return the parts of a state. Raises _OtherForm, struct.error."""
    caches: list[_Cache] = []
    place = _HEAD_BYTES
    while place < len(state):
        if len(caches) == _MAX_CACHES:
            raise _OtherForm
        caches.append(_cache(state, place))
        place = caches[-1].end
    return caches


def _cache(state: memoryview, start: int) -> _Cache:
    (n_streams,) = _U32.unpack_from(state, start)
    if not 0 < n_streams <= _MAX_STREAMS:
        raise _OtherForm
    place = start + 4
    cells_at: int | None = None
    cells_end = place
    for _ in range(n_streams):
        (n_cells,) = _U32.unpack_from(state, place)
        if n_cells:
            if cells_at is not None:
                raise _OtherForm
            cells_at, cells_end = place, _end_of_cells(state, place + 4, n_cells)
            place = cells_end
        else:
            place += 4
    return _Cache(start, n_streams, cells_at, cells_end, place)


def _end_of_cells(state: memoryview, place: int, n_cells: int) -> int:
    for number in (0, n_cells - 1):
        if _U32.unpack_from(state, place + number * _CELL_BYTES + 4) != (1,):
            raise _OtherForm
    place += n_cells * _CELL_BYTES
    transposed, n_layers = struct.unpack_from("<II", state, place)
    if transposed > 1 or not 0 < n_layers <= 4096:
        raise _OtherForm
    place += 8
    for _ in range(n_layers):
        _, row_bytes = _KEY_ROWS.unpack_from(state, place)
        place = _checked(state, place + _KEY_ROWS.size + row_bytes * n_cells)
    with_values = place
    for _ in range(n_layers):
        try:
            if transposed:
                _, number_bytes, n_rows = _TRANSPOSED_ROWS.unpack_from(state, with_values)
                with_values += _TRANSPOSED_ROWS.size + number_bytes * n_rows * n_cells
            else:
                _, row_bytes = _KEY_ROWS.unpack_from(state, with_values)
                with_values += _KEY_ROWS.size + row_bytes * n_cells
        except struct.error:
            return place  # the cache has no values: latent attention
        if with_values > len(state):
            return place
    return with_values


def _checked(state: memoryview, place: int) -> int:
    if place > len(state):
        raise _OtherForm
    return place
