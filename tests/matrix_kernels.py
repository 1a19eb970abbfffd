"""The matrix kernels' library as set-up builds it of these sources, and with other bytes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from models.llamacpp.kernel_library import KernelLibrary
from scripts import kernels
from scripts.environment import read_stamp
from scripts.native_library import libraries_of
from scripts.sources import unpack_sources
from server.kernels.outlook import LIBRARY_VARIABLE


@cache
def built_library() -> Path:
    """Return the library, compiled unless the cache has it; or the one that the environment names."""
    named = os.environ.get(LIBRARY_VARIABLE)
    if named:
        return Path(named)
    if not kernels.is_supported():
        pytest.skip("the kernels are built on Linux, for x86-64 and 64-bit Arm")
    python = Path(sys.executable)
    job = kernels.LIBRARY.build_of(os.environ, read_stamp(Path(sys.prefix)))
    return kernels.LIBRARY.build(job, libraries_of(python), unpack_sources(os.environ, python))


def with_changes(library: bytes, *changes: tuple[bytes, bytes]) -> bytes:
    """Return a library's bytes with some replaced by as many others, wherever they are."""
    for old, new in changes:
        assert len(old) == len(new)
        assert old in library
        library = library.replace(old, new)
    return library


@contextmanager
def kernels_in_use() -> Iterator[KernelLibrary]:
    """Open the library with the best set for this CPU and all its formats in use; leave them afterwards.

    Other tests' models in this process are then loaded without.
    """
    library = KernelLibrary(built_library())
    library.insert()
    if library.choose() is None:
        pytest.skip("this CPU has none of the instruction sets")
    for one in library.formats():
        library.use(one, is_used=True)
    try:
        yield library
    finally:
        library.choose()
        leave(library)


def leave(library: KernelLibrary) -> None:
    """Leave all weights that are loaded from now on to llama.cpp, attention and GELU."""
    for one in library.formats():
        library.use(one, is_used=False)
    library.use_attention(is_used=False)
    library.use_gelu(is_used=False)
