"""The library as set-up builds it, opened once, and left out of other tests' models afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from models.llamacpp.kernel_library import KernelLibrary
from server.kernels.front import LIBRARY_VARIABLE, SET_VARIABLE
from tests.matrix_kernels import built_library


@pytest.fixture(scope="session")
def library_path() -> Path:
    return built_library()


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
