from __future__ import annotations

import numpy as np
import pytest

from models.errors import LlamaCppError
from models.llamacpp.context import Context
from models.llamacpp.model import Model
from tests.models.llamacpp.prefill import PROMPT, TOLERANCE, prefill

pytestmark = pytest.mark.model


@pytest.mark.parametrize("kv_unified", [False, True])
def test_a_shared_prefix_gives_the_logits_of_a_cold_run(kv_unified: bool, pico: Model) -> None:
    with Context(pico, n_ctx=1024, n_batch=64, n_seq_max=4, n_threads=1, kv_unified=kv_unified) as context:
        cold = prefill(context, 0, PROMPT)
        prefill(context, 1, [*PROMPT[:5], 300, 301])
        context.seq_cp(1, 2, 0, 5)
        assert (context.seq_pos_max(1), context.seq_pos_max(2)) == (6, 4)
        warm = prefill(context, 2, PROMPT[5:], 5)
        np.testing.assert_allclose(warm, cold[5:], atol=TOLERANCE)
        # The owner goes on undisturbed.
        prefill(context, 1, [302], 7)
        assert context.seq_pos_max(1) == 7


def test_memory_operations(context: Context) -> None:
    prefill(context, 0, PROMPT)
    prefill(context, 1, PROMPT)
    assert context.seq_rm(0, 4)
    assert context.seq_pos_max(0) == 3
    assert context.seq_rm(0, 0, 2)
    assert context.seq_pos_min(0) == 2
    assert context.seq_rm(0)
    assert context.seq_pos_max(0) is None
    assert context.seq_pos_min(0) is None
    assert context.seq_pos_max(1) == 7
    context.clear()
    assert context.seq_pos_max(1) is None


@pytest.mark.parametrize("seq_id", [-1, 4, 256])
def test_sequences_outside_are_refused(seq_id: int, context: Context) -> None:
    """llama.cpp ends the process on these."""
    for ask in (context.seq_rm, context.seq_pos_max, context.state_seq_get):
        with pytest.raises(LlamaCppError, match=f"sequence {seq_id}; this context has 4"):
            ask(seq_id)
    with pytest.raises(LlamaCppError):
        context.seq_cp(0, seq_id)


def test_a_saved_sequence_comes_back(context: Context, pico: Model) -> None:
    prefill(context, 0, PROMPT)
    state = context.state_seq_get(0)
    expected = prefill(context, 0, [300], 8)
    with Context(pico, n_ctx=1024, n_batch=64, n_seq_max=4, n_threads=1) as other:
        other.state_seq_set(3, state)
        assert other.seq_pos_max(3) == 7
        np.testing.assert_allclose(prefill(other, 3, [300], 8), expected, atol=TOLERANCE)
        with pytest.raises(LlamaCppError, match="doesn't fit this context"):
            other.state_seq_set(2, state[: len(state) // 2])
