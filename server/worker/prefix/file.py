"""One kept prefix as a file: tokens and the KV cache's state after them, each with a checksum.

```
magic 8 | version u32 | key 32 | adapters 32 | n_tokens u32 | first u32 | state bytes u64
        | n_checkpoints u32                                                                little-endian
token ids i32 × n_tokens
(n_tokens u32 | is_border u32 | state bytes u64) × n_checkpoints
sha256 of all above, 32
state, and the checkpoints' states behind it
sha256 of that sum and the states, 32
```

The first part is enough for an index. Nothing is taken from a file of which a sum or a size doesn't fit.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from models.errors import StoreError
from models.llamacpp.sequence_state import Buffer, new_state
from models.store.atomic_write import disk_errors, write_pieces_atomically
from server.engine.batch import Checkpoint, Save

SUFFIX = ".prefix"
"""The names of the files end with this."""
KEY_BYTES = 32
"""A key of a model's context, or of a set of adapters, has this many bytes."""
_MAGIC = b"CORRALPC"
_VERSION = 3
_HEAD = struct.Struct(f"<8sI{KEY_BYTES}s{KEY_BYTES}sIIQI")
_MARK = struct.Struct("<IIQ")
_SUM_BYTES = 32
_PIECE_BYTES = 4 * 2**20
"""So many bytes are written at once: what waits for a turn waits for 10 ms at most."""


class Mark(NamedTuple):
    """A checkpoint that a file has: its place, whether a turn ends there, and the size of its state."""

    n_tokens: int
    is_border: bool
    n_bytes: int


@dataclass(frozen=True, slots=True)
class PrefixHead:
    """The first part of a file: all that is known of a prefix without its state.

    `adapters`: the key of the LoRA adapters that it was computed with (`prefix.key.adapters_key`).
    `first`: the smallest position that the state has: above 0 where a sliding window forgot the others.
    `marks`: the checkpoints to which it can go back, ascending.
    """

    tokens: list[int]
    adapters: bytes
    first: int
    n_state_bytes: int
    marks: tuple[Mark, ...] = ()

    @property
    def n_all_bytes(self) -> int:
        """The size of the state and its checkpoints."""
        return self.n_state_bytes + sum(mark.n_bytes for mark in self.marks)

    @property
    def n_file_bytes(self) -> int:
        ids, marks = 4 * len(self.tokens), _MARK.size * len(self.marks)
        return _HEAD.size + ids + marks + 2 * _SUM_BYTES + self.n_all_bytes


@dataclass(frozen=True, slots=True)
class KeptPrefix:
    """All of a file."""

    head: PrefixHead
    state: memoryview
    checkpoints: tuple[Checkpoint, ...] = ()


def kept_prefix(kept: Save, adapters: bytes, first: int, state: memoryview) -> KeptPrefix:
    """Return what a file of a slot's state has: of its checkpoints, the latest that take no more than that.

    Those at the ends of turns go first.
    """
    chosen: list[Checkpoint] = []
    n_left = state.nbytes
    for checkpoint in sorted(kept.checkpoints, key=lambda one: (not one.is_border, -one.n_tokens)):
        if checkpoint.n_bytes <= n_left:
            n_left -= checkpoint.n_bytes
            chosen.append(checkpoint)
    chosen.sort(key=lambda one: one.n_tokens)
    marks = tuple(Mark(one.n_tokens, one.is_border, one.n_bytes) for one in chosen)
    return KeptPrefix(
        PrefixHead(list(kept.tokens), adapters, first, state.nbytes, marks), state, tuple(chosen)
    )


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits that a token list must keep to before it is believed."""

    n_tokens_max: int
    n_vocab: int


def read_head(path: Path, key: bytes, bounds: Bounds) -> PrefixHead:
    """Return the checked first part. Raises StoreError for a file that is damaged or another's; OSError."""
    with path.open("rb") as file:
        return _read_head(file, key, bounds)[0]


def read_state(path: Path, key: bytes, bounds: Bounds) -> KeptPrefix:
    """Return all of a file, checked to the last byte. Raises StoreError, OSError and MemoryError."""
    with path.open("rb") as file:
        head, head_sum = _read_head(file, key, bounds)
        states = new_state(head.n_all_bytes)
        n_read = file.readinto(states)
        if n_read != len(states) or file.read(_SUM_BYTES + 1) != _state_sum(head_sum, states):
            raise StoreError(f"{path.name} is damaged: its checksum is another")
    at = head.n_state_bytes
    checkpoints: list[Checkpoint] = []
    for mark in head.marks:  # copies: the large state needn't stay for their sake
        state = memoryview(bytes(states[at : at + mark.n_bytes]))
        checkpoints.append(Checkpoint(mark.n_tokens, state, mark.is_border))
        at += mark.n_bytes
    return KeptPrefix(head, states[: head.n_state_bytes], tuple(checkpoints))


def write(path: Path, key: bytes, kept: KeptPrefix, take_turn: Callable[[], None] = lambda: None) -> None:
    """Publish a file in one step: whoever reads finds all of it or none. Raises StoreError, DiskFull.

    `take_turn` is called before each piece of the state, and returns when it may be read and written.
    """
    head = kept.head
    data = _HEAD.pack(
        *(_MAGIC, _VERSION, key, head.adapters, len(head.tokens), head.first, len(kept.state)),
        len(head.marks),
    )
    data += np.asarray(head.tokens, "<i4").tobytes()
    data += b"".join(_MARK.pack(*mark) for mark in head.marks)
    head_sum = hashlib.sha256(data).digest()

    def pieces() -> Iterator[Buffer]:
        yield data
        yield head_sum
        digest = hashlib.sha256(head_sum)
        for whole in (kept.state, *(one.state for one in kept.checkpoints)):
            for at in range(0, len(whole), _PIECE_BYTES):
                take_turn()
                piece = whole[at : at + _PIECE_BYTES]
                digest.update(piece)
                yield piece
        yield digest.digest()

    with disk_errors("keep a prefix", path):
        write_pieces_atomically(path, pieces(), private=True)


def _read_head(file: BinaryIO, key: bytes, bounds: Bounds) -> tuple[PrefixHead, bytes]:
    name = Path(file.name).name
    start = file.read(_HEAD.size)
    if len(start) < _HEAD.size:
        raise StoreError(f"{name} is damaged: it ends within its head")
    magic, version, file_key, adapters, n_tokens, first, n_state_bytes, n_marks = _HEAD.unpack(start)
    if magic != _MAGIC or version != _VERSION or file_key != key:
        raise StoreError(f"{name} isn't of this model, these settings and this version")
    if not 0 < n_tokens <= bounds.n_tokens_max or first >= n_tokens:
        raise StoreError(f"{name} is damaged: {n_tokens:,} tokens from position {first:,}")
    if n_marks > n_tokens:
        raise StoreError(f"{name} is damaged: {n_marks:,} checkpoints of {n_tokens:,} tokens")
    ids = file.read(4 * n_tokens)
    table = file.read(_MARK.size * n_marks)
    head_sum = hashlib.sha256(start + ids + table).digest()
    if len(table) < _MARK.size * n_marks or file.read(_SUM_BYTES) != head_sum:
        raise StoreError(f"{name} is damaged: its head's checksum is another")
    tokens = np.frombuffer(ids, "<i4")
    if tokens.min() < 0 or tokens.max() >= bounds.n_vocab:
        raise StoreError(f"{name} holds a token that this model doesn't have")
    marks = tuple(Mark(n, bool(border), n_bytes) for n, border, n_bytes in _MARK.iter_unpack(table))
    places = [0, *(mark.n_tokens for mark in marks)]
    if places != sorted(set(places)) or places[-1] > n_tokens:
        raise StoreError(f"{name} is damaged: its checkpoints are out of order")
    head = PrefixHead(tokens.tolist(), adapters, first, n_state_bytes, marks)
    if os.fstat(file.fileno()).st_size != head.n_file_bytes:
        raise StoreError(f"{name} is damaged: its size is another")
    return head, head_sum


def _state_sum(head_sum: bytes, state: Buffer) -> bytes:
    digest = hashlib.sha256(head_sum)
    digest.update(state)
    return digest.digest()
