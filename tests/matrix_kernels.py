"""The matrix kernels' library as set-up builds it of these sources, and with other bytes."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path

import pytest

from scripts import kernels
from scripts.environment import read_stamp
from scripts.sources import unpack_sources
from server.kernels.front import LIBRARY_VARIABLE


@cache
def built_library() -> Path:
    """Return the library, compiled unless the cache has it; or the one that the environment names."""
    named = os.environ.get(LIBRARY_VARIABLE)
    if named:
        return Path(named)
    if not kernels.is_supported():
        pytest.skip("the kernels are built on Linux, for x86-64 and 64-bit Arm")
    python = Path(sys.executable)
    job = kernels.job_of(os.environ, read_stamp(Path(sys.prefix)))
    return kernels.build(job, kernels.libraries_of(python), unpack_sources(os.environ, python))


def with_changes(library: bytes, *changes: tuple[bytes, bytes]) -> bytes:
    """Return a library's bytes with some replaced by as many others, wherever they are."""
    for old, new in changes:
        assert len(old) == len(new)
        assert old in library
        library = library.replace(old, new)
    return library
