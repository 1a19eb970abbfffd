from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from models.errors import ContextError, DecodeError, LlamaCppError
from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context
from models.llamacpp.model import Model

pytestmark = pytest.mark.model

PROMPT = [1, 404, 413, 271, 358, 385, 368, 371]


# F32 weights, but an F16 cache: other batch shapes round differently. The logits deviate by about 1.
TOLERANCE = 5e-3


def prefill(context: Context, seq_id: int, tokens: list[int], pos0: int = 0) -> npt.NDArray[np.float32]:
    """A copy of the logits after each token."""
    batch = TokenBatch(context.n_batch)
    batch.add_many(tokens, pos0, seq_id, output_last=True, output_all=True)
    context.decode(batch)
    return context.logits().copy()


def test_sizes(context: Context) -> None:
    assert (context.n_ctx, context.n_ctx_seq, context.n_seq_max) == (1024, 256, 4)
    assert (context.n_batch, context.n_ubatch, context.n_vocab) == (64, 32, 448)
    assert context.can_shift


def test_rows_of_logits(context: Context) -> None:
    batch = TokenBatch(64)
    batch.add_many(PROMPT, 0, 0, output_last=True)
    batch.add_many(PROMPT[:3], 0, 1, output_last=False, output_all=True)
    context.decode(batch)
    rows = context.logits()
    assert rows.shape == (4, 448)
    assert batch.output_indices.tolist() == [7, 8, 9, 10]
    for row, index in enumerate(batch.output_indices):
        view = context.logits_row(int(index))
        assert np.shares_memory(view, rows)
        assert (view == rows[row]).all()
    assert np.isfinite(rows).all()
    assert rows.std() > 0.1
    assert context.logits(2).shape == (2, 448)


def test_logits_that_arent_there(context: Context) -> None:
    batch = TokenBatch(64)
    batch.add_many(PROMPT, 0, 0, output_last=True)
    with pytest.raises(LlamaCppError, match="token 0 of the last batch has no logits"):
        context.logits_row(0)
    context.decode(batch)
    for index in (-1, 0, 6, 8):
        with pytest.raises(LlamaCppError, match="has no logits"):
            context.logits_row(index)
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
    context.seq_add(0, 2, None, 10)
    assert (context.seq_pos_min(0), context.seq_pos_max(0)) == (12, 13)
    assert context.seq_rm(0)
    assert context.seq_pos_max(0) is None
    assert context.seq_pos_min(0) is None
    assert context.seq_pos_max(1) == 7
    context.clear()
    assert context.seq_pos_max(1) is None


def test_keeping_one_sequence(pico: Model) -> None:
    with Context(pico, n_ctx=256, n_batch=64, n_seq_max=3, n_threads=1, kv_unified=True) as context:
        prefill(context, 0, PROMPT)
        prefill(context, 1, PROMPT)
        context.seq_keep(1)
        assert (context.seq_pos_max(0), context.seq_pos_max(1)) == (None, 7)


@pytest.mark.parametrize("seq_id", [-1, 4, 256])
def test_sequences_outside_are_refused(seq_id: int, context: Context) -> None:
    """llama.cpp ends the process on these."""
    for ask in (context.seq_rm, context.seq_pos_max, context.seq_keep, context.state_seq_get):
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


def test_interrupt_stops_the_next_decode_only(context: Context) -> None:
    context.interrupt()
    with pytest.raises(DecodeError, match="aborted") as caught:
        prefill(context, 0, PROMPT)
    assert caught.value.status == 2
    assert context.seq_pos_max(0) is None
    prefill(context, 0, PROMPT)
    assert context.seq_pos_max(0) == 7


def test_interrupt_reaches_a_running_decode(pico: Model) -> None:
    with Context(pico, n_ctx=16384, n_batch=16384, n_ubatch=64, n_threads=1) as context:
        timer = threading.Timer(0.05, context.interrupt)
        timer.start()
        try:
            with pytest.raises(DecodeError) as caught:
                prefill(context, 0, [300] * 16000)
        finally:
            timer.join()
        assert caught.value.status == 2


def test_an_abort_callback(context: Context) -> None:
    answers = [False, True]
    context.set_abort(lambda: answers.pop(0) if len(answers) > 1 else answers[0])
    with pytest.raises(DecodeError, match="aborted"):
        prefill(context, 0, PROMPT)

    def fail() -> bool:
        raise ValueError

    context.set_abort(fail)
    with pytest.raises(DecodeError, match="aborted"):
        prefill(context, 0, PROMPT)
    context.set_abort(None)
    prefill(context, 0, PROMPT)


def test_a_cache_beyond_memory_is_refused_before_the_system_kills_us(pico: Model) -> None:
    with pytest.raises(
        ContextError, match=r"no context of 2,000,000,000 tokens .* GiB.*lower --ctx or --parallel"
    ):
        Context(pico, n_ctx=2_000_000_000)


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


def test_quantized_cache(pico: Model) -> None:
    with Context(pico, n_ctx=256, n_batch=64, n_threads=1, type_k="q8_0", type_v="q8_0") as context:
        assert np.isfinite(prefill(context, 0, PROMPT)).all()


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
