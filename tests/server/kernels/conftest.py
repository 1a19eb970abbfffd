"""The library as set-up builds it, with the best set for this CPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from models.llamacpp.kernel_library import KernelLibrary, default_path
from server.kernels.outlook import LIBRARY_VARIABLE, SET_VARIABLE
from tests.matrix_kernels import built_library, kernels_in_use, leave


@pytest.fixture(scope="session")
def library_path() -> Path:
    return built_library()


@pytest.fixture(autouse=True, scope="module")
def libraries_are_left(library_path: Path) -> Iterator[None]:
    """What is opened here takes weights and attention from llama.cpp for tests behind it, too."""
    yield
    for path in (library_path, default_path()):
        if path.is_file():
            leave(KernelLibrary(path))


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch, library_path: Path) -> None:
    """The library under test is in use, with the best set for this CPU."""
    monkeypatch.setenv(LIBRARY_VARIABLE, str(library_path))
    monkeypatch.delenv(SET_VARIABLE, raising=False)


@pytest.fixture
def library() -> Iterator[KernelLibrary]:
    with kernels_in_use() as opened:
        yield opened
