"""The k largest logits as the graph finds them, here on the CPU, against NumPy's of the whole rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from models.errors import DecodeError, LlamaCppError
from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context
from models.llamacpp.device_top_k import DeviceTopK
from models.llamacpp.model import Model

pytestmark = pytest.mark.model

K = 16
TOLERANCE = 5e-3  # other batch shapes round differently; the logits deviate by about 1
PROMPTS = [[1, 404, 413, 271], [1, 385, 368], [1, 371, 358, 385, 404], [1, 271]]


def prefill(context: Context, seq_ids: list[int]) -> TokenBatch:
    """Decode the prompts of these sequences in one batch, an output after each."""
    context.clear()
    batch = TokenBatch(context.n_batch)
    for seq_id in seq_ids:
        batch.add_many(PROMPTS[seq_id], 0, seq_id, output_last=True)
    context.decode(batch)
    return batch


def assert_largest(top_k: DeviceTopK, index: int, row: int, logits: Any, off: float = 0) -> None:
    ids, values = top_k.rows(index)
    assert len(set(ids[row].tolist())) == K
    assert np.allclose(values[row], logits[ids[row]], rtol=0, atol=off)
    assert np.allclose(np.sort(values[row]), np.sort(logits)[-K:], rtol=0, atol=off)


def test_rows_of_all_sequences(context: Context) -> None:
    prefill(context, [0, 1, 2, 3])
    whole = context.logits().copy()
    top_k = context.device_top_k(K)
    assert top_k.turn_on(range(4))
    assert len(top_k) == 4
    batch = prefill(context, [0, 1, 2, 3])
    for row, index in enumerate(batch.output_indices):
        assert_largest(top_k, int(index), row, whole[row])
        assert_largest(top_k, int(batch.output_indices[0]), row, whole[row])


def test_whole_rows_and_largest_ones_in_one_batch(context: Context) -> None:
    prefill(context, [0, 1, 2, 3])
    whole = context.logits().copy()
    top_k = context.device_top_k(K)
    assert top_k.turn_on([1, 3])
    assert [seq_id in top_k for seq_id in range(4)] == [False, True, False, True]
    batch = prefill(context, [0, 1, 2, 3])
    rows = context.logits()
    assert (rows[0] == whole[0]).all()
    assert (rows[2] == whole[2]).all()
    indices = batch.output_indices.tolist()
    assert_largest(top_k, indices[1], 1, whole[1])
    assert_largest(top_k, indices[3], 3, whole[3])
    with pytest.raises(LlamaCppError, match="has no candidates; turn its sequence on"):
        top_k.rows(indices[0])
    with pytest.raises(LlamaCppError, match="has no logits"):
        top_k.rows(0)


def test_turning_on_and_off_at_random_changes_no_row(context: Context) -> None:
    random = np.random.Generator(np.random.PCG64(7))
    prefill(context, [0, 1, 2, 3])
    whole = context.logits().copy()
    top_k = context.device_top_k(K)
    for _ in range(60):
        chosen = [seq_id for seq_id in range(4) if random.random() < 0.5]
        change = top_k.turn_on if random.random() < 0.5 else top_k.turn_off
        change(chosen)
        seq_ids = [seq_id for seq_id in range(4) if random.random() < 0.7] or [0]
        indices = prefill(context, seq_ids).output_indices.tolist()
        for row, seq_id in enumerate(seq_ids):
            if seq_id in top_k:
                assert_largest(top_k, indices[row], row, whole[seq_id], TOLERANCE)
            else:
                assert np.allclose(context.logits()[row], whole[seq_id], rtol=0, atol=TOLERANCE)


def test_a_context_may_close_while_sequences_are_on(pico: Model) -> None:
    for _ in range(3):
        with Context(pico, n_ctx=512, n_batch=64, n_ubatch=32, n_seq_max=2, n_threads=1) as context:
            top_k = context.device_top_k(K)
            assert top_k.turn_on([0, 1])
            prefill(context, [0, 1])
        assert len(top_k) == 0
        top_k.turn_off([0, 1])


def test_a_sequence_that_is_on_has_one_output_and_others_have_many(context: Context) -> None:
    top_k = context.device_top_k(K)
    assert top_k.turn_on([0])
    batch = TokenBatch(64)
    batch.add_many(PROMPTS[0], 0, 0, output_last=True, output_all=True)
    with pytest.raises(DecodeError):
        context.decode(batch)
    batch.clear()
    batch.add_many(PROMPTS[0], 0, 0, output_last=True)
    batch.add_many(PROMPTS[1], 0, 1, output_last=True, output_all=True)
    context.decode(batch)
    assert context.logits().shape == (4, 448)


def test_what_cant_be(context: Context) -> None:
    with pytest.raises(LlamaCppError, match="the 449 largest logits; this model has 448"):
        context.device_top_k(449)
    with pytest.raises(LlamaCppError, match="sequence 4; this context has 4"):
        context.device_top_k(K).turn_on([4])


def test_a_device_that_lacks_the_operation_gets_nothing(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    top_k = context.device_top_k(K)
    monkeypatch.setattr(top_k._native, "llama_sampler_name", lambda _stage: b"-top-k")
    assert not top_k.turn_on(range(4))
    assert len(top_k) == 0
    monkeypatch.undo()
    monkeypatch.setattr(top_k, "_set", lambda *_: False)
    assert not top_k.turn_on(range(4))
    assert len(top_k) == 0
    prefill(context, [0, 1])
    assert np.isfinite(context.logits()).all()
