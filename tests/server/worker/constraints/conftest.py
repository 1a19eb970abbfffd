"""A real vocabulary and a compiler over it; the search for a refusal's reason has time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from models.llamacpp.model import Model
from models.llamacpp.vocab import Vocab
from server.worker.constraints import check
from server.worker.constraints.compiler import ConstraintCompiler
from tests.server.worker.constraints.patience import PATIENCE_S, patient_compiler


@pytest.fixture(autouse=True)
def search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refusals name what they should on a busy machine, too."""
    monkeypatch.setattr(check, "_SEARCH_S", PATIENCE_S)


@pytest.fixture(scope="package")
def vocab(pico_path: Path) -> Iterator[Vocab]:
    with Model.load(pico_path, vocab_only=True) as model:
        yield model.vocab


@pytest.fixture(scope="package")
def compiler(vocab: Vocab) -> Iterator[ConstraintCompiler]:
    made = patient_compiler(vocab)
    yield made
    made.close()
