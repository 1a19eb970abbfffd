from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from server.engine.sampling_params import SamplingParams
from server.worker.sampling.steps.penalties import PenaltyAdjuster


@pytest.mark.parametrize("last_n", [1, 3, 64, -1])
def test_it_counts_the_last_tokens(last_n: int) -> None:
    random = np.random.default_rng(abs(last_n))
    tokens = [int(token) for token in random.integers(0, 12, 200)]
    penalties = PenaltyAdjuster(SamplingParams(repeat_last_n=last_n, repeat_penalty=2.0), tokens[:20])
    for end in range(20, len(tokens)):
        expected = Counter(tokens[max(0, end - last_n) if last_n >= 0 else 0 : end])
        assert dict(zip(penalties.ids.tolist(), penalties.counts.tolist(), strict=True)) == expected
        penalties.accept(tokens[end])


def test_each_row_by_its_own_penalties() -> None:
    first = PenaltyAdjuster(SamplingParams(repeat_penalty=2.0), [1, 1, 3])
    second = PenaltyAdjuster(SamplingParams(frequency_penalty=0.5, presence_penalty=0.25), [0, 2, 2])
    logits = np.array([[9, 9, 9, 9], [1, 4, 1, -3], [1, 1, 1, 1]], np.float32)
    alone = logits.copy()
    PenaltyAdjuster.adjust(logits, [1, 2], [first, second])
    assert logits.tolist() == [[9, 9, 9, 9], [1, 2, 1, -6], [0.25, 1, -0.25, 1]]
    PenaltyAdjuster.adjust(alone, [1], [first])
    PenaltyAdjuster.adjust(alone, [2], [second])
    assert alone.tolist() == logits.tolist()


def test_a_prompt_may_be_shorter_than_what_is_looked_at_and_empty() -> None:
    penalties = PenaltyAdjuster(SamplingParams(repeat_penalty=2.0), [])
    logits = np.ones((1, 3), np.float32)
    PenaltyAdjuster.adjust(logits, [0], [penalties])
    penalties.accept(1)
    PenaltyAdjuster.adjust(logits, [0], [penalties])
    assert logits.tolist() == [[1, 0.5, 1]]
