from __future__ import annotations

from pathlib import Path

import pytest

from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from models.paths import Paths
from models.store.store import ModelStore
from tests.models.imports.other_programs import OllamaFolder


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A model that loads."""
    path = tmp_path_factory.mktemp("weights") / "tiny.gguf"
    return write_tiny_gguf(path, TinyModel(chat_template="{{ messages }}", n_layer=1)).read_bytes()


@pytest.fixture
def ollama(tmp_path: Path) -> OllamaFolder:
    return OllamaFolder(tmp_path / "ollama")


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(Paths.from_environment({"CORRAL_HOME": str(tmp_path / "home")}))
