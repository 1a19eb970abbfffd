"""A tiny model whose header can be read, and the matrix kernels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from models.llamacpp.kernel_library import KernelLibrary
from server.kernels.outlook import LIBRARY_VARIABLE
from tests.matrix_kernels import kernels_in_use


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf", TinyModel())


@pytest.fixture
def kernel_library(monkeypatch: pytest.MonkeyPatch) -> Iterator[KernelLibrary]:
    """The library, which child processes use, too."""
    with kernels_in_use() as opened:
        monkeypatch.setenv(LIBRARY_VARIABLE, str(opened.path))
        yield opened
