from __future__ import annotations

import pytest

from models.errors import LlamaCppError
from models.llamacpp.batch import TokenBatch


def test_tokens_are_laid_out_as_llama_cpp_reads_them() -> None:
    batch = TokenBatch(8)
    assert batch.add(11, 0, 2, output=False) == 0
    assert batch.add_many([12, 13, 14], 5, 1, output_last=True) == 3
    native = batch.native
    read = [
        (native.token[i], native.pos[i], native.n_seq_id[i], native.seq_id[i][0], native.logits[i])
        for i in range(batch.n_tokens)
    ]
    assert read == [(11, 0, 1, 2, 0), (12, 5, 1, 1, 0), (13, 6, 1, 1, 0), (14, 7, 1, 1, 1)]
    assert batch.output_indices.tolist() == [3]


def test_clearing_forgets_outputs() -> None:
    batch = TokenBatch(4)
    batch.add_many([1, 2, 3], 0, 0, output_last=False, output_all=True)
    assert batch.n_outputs == 3
    batch.clear()
    assert (len(batch), batch.n_outputs) == (0, 0)
    batch.add(1, 0, 0, output=False)
    assert batch.n_outputs == 0


def test_a_full_batch_takes_nothing_more() -> None:
    batch = TokenBatch(2)
    batch.add(1, 0, 0, output=False)
    with pytest.raises(LlamaCppError, match="2 more tokens don't fit a batch of 2 that holds 1"):
        batch.add_many([2, 3], 1, 0, output_last=True)
    assert batch.n_tokens == 1


@pytest.mark.parametrize("n_tokens_max", [0, -1])
def test_a_batch_has_room(n_tokens_max: int) -> None:
    with pytest.raises(LlamaCppError, match="at least 1"):
        TokenBatch(n_tokens_max)


def test_no_tokens_are_refused() -> None:
    with pytest.raises(LlamaCppError, match="no tokens"):
        TokenBatch(2).add_many([], 0, 0, output_last=True)
