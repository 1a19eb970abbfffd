"""Vectors and scores are those of transformers, by the record that `test_transformers_oracle` makes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.quantize.quantize_folder import quantize_folder
from tests.server.worker.client import WorkerClient
from tests.server.worker.pooled.sentences import EMBEDDERS, QUERY, RERANKERS, TEXTS, checkpoint_of, recorded
from tests.server.worker.pooled.test_pooled_worker import pooled

pytestmark = pytest.mark.model

TOLERANCE = 1e-3


@pytest.mark.parametrize("type_", ["F32", "F16"])
@pytest.mark.parametrize("name", EMBEDDERS)
def test_vectors_are_those_of_transformers(name: str, type_: str, tmp_path: Path) -> None:
    (file,) = quantize_folder(checkpoint_of(name, tmp_path), [type_], tmp_path)
    with WorkerClient(file.path, flash_attn="auto", type_k="f16", type_v="f16") as worker:
        worker.ready()
        found = pooled(worker, "a", *[text or (" " if name == "qwen3" else "") for text in TEXTS])
    expected = np.asarray(recorded()[name])
    assert np.abs(found - expected).max() < TOLERANCE
    assert np.einsum("ij,ij->i", found, expected).min() > 1 - TOLERANCE


@pytest.mark.parametrize("type_", ["F32", "F16"])
@pytest.mark.parametrize("name", RERANKERS)
def test_scores_are_those_of_transformers(name: str, type_: str, tmp_path: Path) -> None:
    (file,) = quantize_folder(checkpoint_of(name, tmp_path), [type_], tmp_path)
    pairs = tuple((0, 1 + i) for i in range(len(TEXTS)))
    with WorkerClient(file.path, flash_attn="auto", type_k="f16", type_v="f16") as worker:
        worker.ready()
        found = pooled(worker, "a", QUERY, *TEXTS, pairs=pairs)
    expected = np.asarray(recorded()[name])
    sigmoid = [1 / (1 + np.exp(-scores)) for scores in (found, expected)]
    assert np.abs(sigmoid[0] - sigmoid[1]).max() < TOLERANCE
    assert np.argsort(found[:, 0]).tolist() == np.argsort(expected[:, 0]).tolist()
