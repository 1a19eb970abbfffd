"""Pico encoders and rerankers, written once per test run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.server.worker.family_models import write_family_gguf

ENCODERS = ("bert", "xlm-roberta", "nomic-bert", "jina-bert", "t5-encoder")
RERANKERS = ("bert-classifier", "xlm-roberta-reranker", "jina-reranker-v2")


@pytest.fixture(scope="session")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("encoders")
    names = (*ENCODERS, *RERANKERS, "roberta-classifier")
    return {name: write_family_gguf(name, folder) for name in names}
