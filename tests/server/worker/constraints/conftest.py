"""A real vocabulary and a compiler over it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from models.llamacpp.model import Model
from models.llamacpp.vocab import Vocab
from server.worker.constraints.compiler import ConstraintCompiler


@pytest.fixture(scope="package")
def vocab(pico_path: Path) -> Iterator[Vocab]:
    with Model.load(pico_path, vocab_only=True) as model:
        yield model.vocab


@pytest.fixture(scope="package")
def compiler(vocab: Vocab) -> Iterator[ConstraintCompiler]:
    made = ConstraintCompiler(vocab)
    yield made
    made.close()
