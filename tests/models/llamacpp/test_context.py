from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.errors import ContextError, DecodeError, LlamaCppError
from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context
from models.llamacpp.model import Model
from tests.models.llamacpp.prefill import PROMPT, TOLERANCE, prefill

pytestmark = pytest.mark.model


def test_sizes(context: Context) -> None:
    assert (context.n_ctx, context.n_ctx_seq, context.n_seq_max) == (1024, 256, 4)
    assert (context.n_batch, context.n_ubatch, context.n_vocab) == (64, 32, 448)


def test_rows_of_logits(context: Context) -> None:
    batch = TokenBatch(64)
    batch.add_many(PROMPT, 0, 0, output_last=True)
    batch.add_many(PROMPT[:3], 0, 1, output_last=False, output_all=True)
    context.decode(batch)
    rows = context.logits()
    assert rows.shape == (4, 448)
    assert batch.output_indices.tolist() == [7, 8, 9, 10]
    for row, index in enumerate(batch.output_indices):
        assert context.output_place(int(index)) == (row, 4)
    assert np.isfinite(rows).all()
    assert rows.std() > 0.1
    assert context.logits(2).shape == (2, 448)


def test_logits_that_arent_there(context: Context) -> None:
    batch = TokenBatch(64)
    batch.add_many(PROMPT, 0, 0, output_last=True)
    with pytest.raises(LlamaCppError, match="token 0 of the last batch has no logits"):
        context.output_place(0)
    context.decode(batch)
    for index in (-1, 0, 6, 8):
        with pytest.raises(LlamaCppError, match="has no logits"):
            context.output_place(index)
    with pytest.raises(LlamaCppError, match="2 rows of logits; the last batch has 1"):
        context.logits(2)


def test_a_batch_without_outputs(context: Context) -> None:
    batch = TokenBatch(64)
    batch.add_many(PROMPT, 0, 0, output_last=False)
    context.decode(batch)
    assert context.logits().shape == (0, 448)
    assert context.seq_pos_max(0) == 7


def test_chunks_and_neighbours_change_nothing(context: Context) -> None:
    whole = prefill(context, 0, PROMPT)
    chunks = np.concatenate([prefill(context, 1, PROMPT[:3]), prefill(context, 1, PROMPT[3:], 3)])
    np.testing.assert_allclose(chunks, whole, atol=TOLERANCE)
    batch = TokenBatch(64)
    batch.add_many(PROMPT, 0, 2, output_last=True, output_all=True)
    batch.add_many(PROMPT[::-1], 0, 3, output_last=True, output_all=True)
    context.decode(batch)
    np.testing.assert_allclose(context.logits(8), whole, atol=TOLERANCE)


def test_a_full_cache_is_status_1_and_changes_nothing(pico: Model) -> None:
    with Context(pico, n_ctx=256, n_batch=256, n_ubatch=256, n_threads=1) as context:
        prefill(context, 0, [300] * 250)
        with pytest.raises(
            DecodeError, match="no KV cache cells are free for a batch of 10 tokens"
        ) as caught:
            prefill(context, 0, [300] * 10, 250)
        assert caught.value.status == 1
        assert context.seq_pos_max(0) == 249
        prefill(context, 0, [300] * 6, 250)


@pytest.mark.parametrize(
    ("tokens", "pos0"), [([448], 0), ([-1], 0), ([300], 5)], ids=["token", "negative", "position"]
)
def test_a_bad_batch_is_refused_with_a_reason(tokens: list[int], pos0: int, context: Context) -> None:
    prefill(context, 0, PROMPT[:2])
    with pytest.raises(DecodeError, match=r"refused a batch of 1 tokens as invalid: \w+") as caught:
        prefill(context, 0, tokens, pos0)
    assert caught.value.status == -1
    assert context.logits().shape == (0, 448)
    prefill(context, 0, PROMPT[2:], 2)


def test_too_large_a_batch_is_refused(context: Context) -> None:
    """llama.cpp ends the process on it."""
    batch = TokenBatch(100)
    batch.add_many([300] * 100, 0, 0, output_last=True)
    with pytest.raises(LlamaCppError, match="a batch of 100 tokens; this context takes 64"):
        context.decode(batch)


def test_an_empty_batch_is_refused(context: Context) -> None:
    with pytest.raises(DecodeError, match="refused a batch of 0 tokens"):
        context.decode(TokenBatch(4))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_ctx": 0}, "n_ctx is 0"),
        ({"n_ctx": 256, "n_seq_max": 257}, "257 sequences; llama.cpp's limit is 256"),
        ({"n_ctx": 256, "n_seq_max": 0}, "0 sequences"),
        ({"n_ctx": 256, "n_threads": 0}, "n_threads is 0"),
        ({"n_ctx": 256, "type_k": "q3_k"}, "can't be of type `q3_k`"),
        ({"n_ctx": 256, "type_v": "q8_0", "flash_attn": "off"}, "V cache requires flash_attn"),
    ],
)
def test_bad_options(options: dict[str, object], words: str, pico: Model) -> None:
    with pytest.raises(ContextError, match=words):
        Context(pico, **options)  # type: ignore[arg-type]


def test_embeddings(pico: Model) -> None:
    with Context(pico, n_ctx=256, n_batch=64, n_threads=1, embeddings=True) as context:
        batch = TokenBatch(8)
        last = batch.add_many(PROMPT, 0, 0, output_last=True, output_all=True)
        context.decode(batch)
        embedding = context.embeddings_row(last)
        assert embedding.shape == (256,)
        assert np.isfinite(embedding).all()
        with pytest.raises(LlamaCppError, match="left no such embedding"):
            context.embeddings_seq(0)


def test_simulated_memory_doesnt_decode(pico_path: Path) -> None:
    with (
        Model.load(pico_path, no_alloc=True) as model,
        Context(model, n_ctx=256) as context,
        pytest.raises(LlamaCppError, match="simulated memory"),
    ):
        prefill(context, 0, PROMPT)


def test_a_closed_context_says_so(pico: Model) -> None:
    context = Context(pico, n_ctx=256)
    context.close()
    context.close()
    for ask in (context.clear, lambda: context.seq_pos_max(0), lambda: prefill(context, 0, PROMPT)):
        with pytest.raises(ContextError, match="has been closed"):
            ask()
