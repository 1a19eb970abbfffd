"""The record of vectors and scores by transformers: made, or compared.

CORRAL_WRITE_GOLDEN=1 make oracle ARGS="tests/server/worker/pooled"
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.server.worker.pooled.sentences import (
    EMBEDDERS,
    QUERY,
    RECORD,
    RERANKERS,
    TEXTS,
    checkpoint_of,
    recorded,
)

pytestmark = [pytest.mark.oracle, pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]


def test_transformers_still_say_so(tmp_path: Path) -> None:
    found = {name: vectors(name, checkpoint_of(name, tmp_path)) for name in EMBEDDERS}
    found |= {name: scores(checkpoint_of(name, tmp_path)) for name in RERANKERS}
    if os.environ.get("CORRAL_WRITE_GOLDEN"):
        rows = {name: np.round(np.asarray(one, np.float64), 6).tolist() for name, one in found.items()}
        RECORD.write_text(json.dumps(rows) + "\n", encoding="utf-8")
    for name, rows_of in recorded().items():
        assert np.abs(np.asarray(found[name]) - np.asarray(rows_of)).max() < 1e-5, name


def vectors(name: str, directory: Path) -> Any:
    """Return a vector of length 1 per text, pooled as sentence-transformers does it."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    model = transformers.AutoModel.from_pretrained(directory, dtype=torch.float32).eval()
    rows = []
    for text in TEXTS:
        encoded = tokenizer(text or (" " if name == "qwen3" else ""), return_tensors="pt")
        with torch.no_grad():
            hidden = model(**encoded).last_hidden_state[0]
        pooled = {"xlm-roberta": hidden[0], "qwen3": hidden[-1]}.get(name, hidden.mean(dim=0))
        rows.append((pooled / pooled.norm()).tolist())
    return rows


def scores(directory: Path) -> Any:
    """Return the score of the query with each text."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(directory, dtype=torch.float32)
    rows = []
    for text in TEXTS:
        encoded = tokenizer([QUERY], [text], return_tensors="pt")
        with torch.no_grad():
            rows.append(model.eval()(**encoded).logits[0].tolist())
    return rows
