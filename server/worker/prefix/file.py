"""One kept prefix as a file: tokens and the KV cache's state after them, each with a checksum.

```
magic 8 | version u32 | key 32 | adapters 32 | n_tokens u32 | first u32 | state bytes u64   little-endian
token ids i32 × n_tokens
sha256 of all above, 32
state
sha256 of that sum and the state, 32
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
from typing import BinaryIO

import numpy as np

from models.errors import StoreError
from models.llamacpp.sequence_state import Buffer, new_state
from models.store.atomic_write import disk_errors, write_pieces_atomically

SUFFIX = ".prefix"
"""The names of the files end with this."""
KEY_BYTES = 32
"""A key of a model's context, or of a set of adapters, has this many bytes."""
_MAGIC = b"CORRALPC"
_VERSION = 2
_HEAD = struct.Struct(f"<8sI{KEY_BYTES}s{KEY_BYTES}sIIQ")
_SUM_BYTES = 32
_PIECE_BYTES = 4 * 2**20
"""So many bytes are written at once: what waits for a turn waits for 10 ms at most."""


@dataclass(frozen=True, slots=True)
class PrefixHead:
    """The first part of a file: all that is known of a prefix without its state.

    `adapters`: the key of the LoRA adapters that it was computed with (`prefix.key.adapters_key`).
    `first`: the smallest position that the state has: above 0 where a sliding window forgot the others.
    """

    tokens: list[int]
    adapters: bytes
    first: int
    n_state_bytes: int

    @property
    def n_file_bytes(self) -> int:
        return _HEAD.size + 4 * len(self.tokens) + 2 * _SUM_BYTES + self.n_state_bytes


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits that a token list must keep to before it is believed."""

    n_tokens_max: int
    n_vocab: int


def read_head(path: Path, key: bytes, bounds: Bounds) -> PrefixHead:
    """Return the checked first part. Raises StoreError for a file that is damaged or another's; OSError."""
    with path.open("rb") as file:
        return _read_head(file, key, bounds)[0]


def read_state(path: Path, key: bytes, bounds: Bounds) -> tuple[PrefixHead, memoryview]:
    """Return all of a file, checked to the last byte. Raises StoreError, OSError and MemoryError."""
    with path.open("rb") as file:
        head, head_sum = _read_head(file, key, bounds)
        state = new_state(head.n_state_bytes)
        n_read = file.readinto(state)
        if n_read != len(state) or file.read(_SUM_BYTES + 1) != _state_sum(head_sum, state):
            raise StoreError(f"{path.name} is damaged: its checksum is another")
    return head, state


def write(
    path: Path, key: bytes, head: PrefixHead, state: Buffer, take_turn: Callable[[], None] = lambda: None
) -> None:
    """Publish a file in one step: whoever reads finds all of it or none. Raises StoreError, DiskFull.

    `take_turn` is called before each piece of the state, and returns when it may be read and written.
    """
    data = _HEAD.pack(_MAGIC, _VERSION, key, head.adapters, len(head.tokens), head.first, len(state))
    data += np.asarray(head.tokens, "<i4").tobytes()
    head_sum = hashlib.sha256(data).digest()

    def pieces() -> Iterator[Buffer]:
        yield data
        yield head_sum
        digest = hashlib.sha256(head_sum)
        whole = memoryview(state)
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
    magic, version, file_key, adapters, n_tokens, first, n_state_bytes = _HEAD.unpack(start)
    if magic != _MAGIC or version != _VERSION or file_key != key:
        raise StoreError(f"{name} isn't of this model, these settings and this version")
    if not 0 < n_tokens <= bounds.n_tokens_max or first >= n_tokens:
        raise StoreError(f"{name} is damaged: {n_tokens:,} tokens from position {first:,}")
    ids = file.read(4 * n_tokens)
    head_sum = hashlib.sha256(start + ids).digest()
    if len(ids) < 4 * n_tokens or file.read(_SUM_BYTES) != head_sum:
        raise StoreError(f"{name} is damaged: its head's checksum is another")
    tokens = np.frombuffer(ids, "<i4")
    if tokens.min() < 0 or tokens.max() >= bounds.n_vocab:
        raise StoreError(f"{name} holds a token that this model doesn't have")
    head = PrefixHead(tokens.tolist(), adapters, first, n_state_bytes)
    if os.fstat(file.fileno()).st_size != head.n_file_bytes:
        raise StoreError(f"{name} is damaged: its size is another")
    return head, head_sum


def _state_sum(head_sum: bytes, state: Buffer) -> bytes:
    digest = hashlib.sha256(head_sum)
    digest.update(state)
    return digest.digest()
