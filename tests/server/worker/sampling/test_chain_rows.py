"""What only llama.cpp's chain can do, through a real context."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.errors import LlamaCppError
from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context
from models.llamacpp.model import Model
from server.worker.sampling.row_samplers import RowRequest
from tests.server.worker.sampling.chains import open_chain, open_rows, pick, random_logits

pytestmark = pytest.mark.model

CHAINED: dict[str, dict[str, Any]] = {
    "typical": {"typical_p": 0.7},
    "top_n_sigma": {"top_n_sigma": 1.5},
    "xtc": {"xtc_probability": 0.5, "xtc_threshold": 0.1},
    "dry": {"dry_multiplier": 1.0, "dry_sequence_breakers": ()},
    "dynatemp": {"dynatemp_range": 0.5},
    "mirostat": {"mirostat": 2},
    "mirostat 1": {"mirostat": 1},
    "dry, greedy": {"dry_multiplier": 1.0, "temperature": 0.0},
    "typical with bias and penalties": {"typical_p": 0.9, "repeat_penalty": 1.2, "logit_bias": ((5, 3.0),)},
}


@pytest.fixture(scope="module")
def context(pico_path: Path) -> Iterator[Context]:
    with (
        Model.load(pico_path) as model,
        Context(model, n_ctx=256, n_batch=64, n_seq_max=1, n_threads=1) as made,
    ):
        batch = TokenBatch(64)
        for position in range(8):
            batch.add(position + 5, position, 0, True)
        made.decode(batch)
        yield made


@pytest.mark.parametrize("name", CHAINED)
def test_the_chain_samples_its_rows_among_others(name: str, context: Context) -> None:
    vocab = context.model.vocab
    logits = context.logits()
    random = np.random.default_rng(0)
    samplers = open_rows(vocab, [CHAINED[name], {}], first_seed=3)
    with open_chain(vocab, CHAINED[name], 3) as chain, open_chain(vocab, {}, 4) as other:
        for _ in range(30):
            logits[:] = random_logits(random, 8, vocab.n_tokens, 2.0)
            expected = [[pick(chain, logits[2])], [pick(other, logits[5])]]
            wanted = [RowRequest(0, 2, 2, [], ban_eog=False), RowRequest(1, 5, 5, [], ban_eog=False)]
            assert samplers.sample(context, logits, wanted) == expected
    samplers.close(0)
    samplers.close(0)


@pytest.mark.parametrize("right", [0, 2])
def test_the_chain_goes_through_a_draft(right: int, context: Context) -> None:
    vocab = context.model.vocab
    logits = context.logits()
    logits[:] = random_logits(np.random.default_rng(1), 8, vocab.n_tokens, 2.0)
    params = CHAINED["typical with bias and penalties"]
    with open_chain(vocab, params, 0) as chain:
        expected = [pick(chain, row) for row in logits[3:6]]
    draft = expected[:right] + [(token + 1) % vocab.n_tokens for token in expected[right:2]]
    samplers = open_rows(vocab, [params])
    assert samplers.sample(context, logits, [RowRequest(0, 3, 3, draft, ban_eog=False)]) == [
        expected[: right + 1]
    ]
    samplers.close(0)


def test_the_chain_is_spared_damaged_rows(context: Context) -> None:
    logits = context.logits()
    logits[:] = 0
    logits[1, 9] = np.nan
    samplers = open_rows(context.model.vocab, [CHAINED["mirostat"]])
    (found,) = samplers.sample(context, logits, [RowRequest(0, 1, 1, [], ban_eog=False)])
    assert isinstance(found, LlamaCppError)
    samplers.close(0)
