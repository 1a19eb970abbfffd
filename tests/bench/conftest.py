"""A tiny model whose header can be read, and the matrix kernels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from models.llamacpp.kernel_library import KernelLibrary
from server.kernels.front import LIBRARY_VARIABLE
from tests.matrix_kernels import built_library


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf", TinyModel())


@pytest.fixture
def kernel_library(monkeypatch: pytest.MonkeyPatch) -> Iterator[KernelLibrary]:
    """The library; other tests' models don't use it afterwards."""
    path = built_library()
    monkeypatch.setenv(LIBRARY_VARIABLE, str(path))
    opened = KernelLibrary(path)
    if opened.choose() is None:
        pytest.skip("this CPU has none of the instruction sets")
    yield opened
    opened.choose()
    for one in opened.formats():
        opened.use(one, is_used=False)
