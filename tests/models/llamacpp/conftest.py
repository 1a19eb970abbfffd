"""Tiny real models, written once per test run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from models.llamacpp.context import Context
from models.llamacpp.model import Model

CHAT_TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}"


@pytest.fixture(scope="session")
def pico_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Llama, 2 layers of 256, grouped heads, SentencePiece vocabulary, F32."""
    return write_tiny_gguf(
        tmp_path_factory.mktemp("pico") / "spm.gguf", TinyModel(chat_template=CHAT_TEMPLATE)
    )


@pytest.fixture(scope="session")
def pico_bpe_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a byte-level BPE vocabulary."""
    return write_tiny_gguf(tmp_path_factory.mktemp("pico") / "bpe.gguf", TinyModel(vocabulary="bpe"))


@pytest.fixture(scope="session")
def pico(pico_path: Path) -> Iterator[Model]:
    with Model.load(pico_path) as model:
        yield model


@pytest.fixture(scope="session")
def pico_bpe(pico_bpe_path: Path) -> Iterator[Model]:
    with Model.load(pico_bpe_path) as model:
        yield model


@pytest.fixture
def context(pico: Model) -> Iterator[Context]:
    """Four sequences of 64 cells each, one stream per sequence."""
    with Context(pico, n_ctx=256 * 4, n_batch=64, n_ubatch=32, n_seq_max=4, n_threads=1) as made:
        yield made
