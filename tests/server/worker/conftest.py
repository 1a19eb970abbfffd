"""A tiny real model, written once per test run."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.doctor.tiny_model import TinyModel, write_tiny_gguf

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}assistant:"
)


@pytest.fixture(scope="session")
def pico_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Llama, 2 layers of 256, grouped heads, F32: equal sums give equal tokens."""
    return write_tiny_gguf(
        tmp_path_factory.mktemp("pico") / "pico.gguf", TinyModel(chat_template=CHAT_TEMPLATE)
    )
