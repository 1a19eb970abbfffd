"""Keys of kept prefixes: of a model's weights, KV cache and llama.cpp, and of a set of LoRA adapters."""

from __future__ import annotations

import hashlib
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

from models.llamacpp.context import Context
from models.llamacpp.library import REQUIRED_VERSION
from models.store.atomic_write import disk_errors

_N_SAMPLES = 64
_SAMPLE_BYTES = 1 << 16
"""A file's sample is this many parts of this many bytes."""
NO_ADAPTERS = bytes(32)
"""The key of no adapters at all."""


def context_key(paths: Sequence[Path], context: Context, kv_settings: Sequence[str]) -> bytes:
    """Return 32 bytes that differ where a state of one context doesn't fit another, or means something else.

    `kv_settings`: the types of K and V, and flash attention: without it V lies transposed. States of some
    forms fit only as many streams as they come from; some models choose their rotary factors by the context's
    length. Raises StoreError if the weights can't be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        digest.update(file_sample(path))
    settings = (
        f"llama-cpp-python {REQUIRED_VERSION}",
        sys.byteorder,
        f"streams {1 if context.kv_unified else context.n_seq_max}",
        f"n_ctx_seq {context.n_ctx_seq}",
        f"n_swa {context.model.n_swa}",
        *(setting.lower() for setting in kv_settings),
    )
    digest.update("\0".join(settings).encode())
    return digest.digest()


def adapters_key(adapters: Sequence[tuple[bytes, float]]) -> bytes:
    """Return 32 bytes for a set of LoRA adapters, in whatever order: each one's `file_sample` and scale."""
    if not adapters:
        return NO_ADAPTERS
    return hashlib.sha256(
        b"".join(sorted(sum_ + struct.pack("<d", scale) for sum_, scale in adapters))
    ).digest()


def file_sample(path: Path) -> bytes:
    """Return a digest of a weights file's size, its time, its beginning, its end and parts between.

    That takes milliseconds, all of the file minutes. Raises StoreError.
    """
    digest = hashlib.sha256()
    with disk_errors("read the model", path), path.open("rb") as file:
        status = path.stat()
        digest.update(f"{status.st_size} {status.st_mtime_ns}\0".encode())
        last = max(0, status.st_size - _SAMPLE_BYTES)
        for start in sorted({last * i // (_N_SAMPLES - 1) for i in range(_N_SAMPLES)}):
            file.seek(start)
            digest.update(file.read(_SAMPLE_BYTES))
    return digest.digest()
