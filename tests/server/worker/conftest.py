"""A tiny real model, written once per test run, what it answers to a module's `asks`, and prefix stores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from models.llamacpp.model import Model
from tests.server.engine.harness import Outcome
from tests.server.worker.family_models import write_family_gguf
from tests.server.worker.prefix_stores import Stores
from tests.server.worker.session import Ask, alone

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}assistant:"
)


@pytest.fixture(scope="session")
def pico_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Llama, 2 layers of 256, grouped heads, F32: equal sums give equal tokens."""
    return write_tiny_gguf(
        tmp_path_factory.mktemp("pico") / "pico.gguf", TinyModel(chat_template=CHAT_TEMPLATE)
    )


@pytest.fixture(scope="session")
def t5_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A T5 of two layers, F32."""
    return write_family_gguf("flan-t5", tmp_path_factory.mktemp("t5"))


@pytest.fixture(scope="module")
def t5(t5_path: Path) -> Iterator[Model]:
    with Model.load(t5_path, use_extra_bufts=False) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def model(pico_path: Path) -> Iterator[Model]:
    with Model.load(pico_path) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def expected(model: Model, asks: list[Ask]) -> list[Outcome]:
    """What each of `asks`, a fixture of the module, is answered alone."""
    return [alone(model, ask) for ask in asks]


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    opened = Stores(tmp_path / "prefixes")
    yield opened
    opened.close()
