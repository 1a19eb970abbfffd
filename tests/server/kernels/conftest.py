"""The library as set-up builds it, opened once, and left out of other tests' models afterwards."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.llamacpp.kernel_library import KernelLibrary
from scripts import kernels
from scripts.environment import read_stamp
from scripts.sources import unpack_sources
from server.kernels.front import LIBRARY_VARIABLE, SET_VARIABLE


@pytest.fixture(scope="session")
def library_path() -> Path:
    """The library made of these sources, compiled unless the cache has it; or the one that is named."""
    named = os.environ.get(LIBRARY_VARIABLE)
    if named:
        return Path(named)
    if not kernels.is_supported():
        pytest.skip("the kernels are built on Linux, for x86-64 and 64-bit Arm")
    python = Path(sys.executable)
    job = kernels.job_of(os.environ, read_stamp(Path(sys.prefix)))
    return kernels.build(job, kernels.libraries_of(python), unpack_sources(os.environ, python))


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch, library_path: Path) -> None:
    """The library under test is in use, with the best set for this CPU."""
    monkeypatch.setenv(LIBRARY_VARIABLE, str(library_path))
    monkeypatch.delenv(SET_VARIABLE, raising=False)


@pytest.fixture(scope="session")
def opened(library_path: Path) -> Iterator[KernelLibrary]:
    library = KernelLibrary(library_path)
    library.insert()
    yield library
    for one in library.formats():
        library.use(one, is_used=False)


@pytest.fixture
def library(opened: KernelLibrary) -> Iterator[KernelLibrary]:
    """The library with the best set for this CPU and all its formats in use."""
    if opened.choose() is None:
        pytest.skip("this CPU has none of the instruction sets")
    for one in opened.formats():
        opened.use(one, is_used=True)
    yield opened
    opened.choose()
