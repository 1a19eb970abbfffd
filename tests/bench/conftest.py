"""A tiny model whose header can be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.doctor.tiny_model import TinyModel, write_tiny_gguf


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf", TinyModel())
