from __future__ import annotations

import math

import numpy as np

from models.errors import RequestError
from server.engine.sampling_params import SamplingParams
from server.worker.sampling.steps.logit_bias import BiasAdjuster


def test_each_row_by_its_own_biases_and_a_token_named_twice_counts_twice() -> None:
    first = BiasAdjuster(SamplingParams(logit_bias=((1, 0.5), (2, -math.inf), (1, 0.25))), [])
    second = BiasAdjuster(SamplingParams(logit_bias=((0, 2.0),)), [])
    logits = np.ones((3, 3), np.float32)
    BiasAdjuster.adjust(logits, [2, 0], [first, second])
    assert logits.tolist() == [[3, 1, 1], [1, 1, 1], [1, 1.75, -math.inf]]


def test_it_is_the_cause_if_every_token_is_banned_and_of_nothing_else() -> None:
    adjuster = BiasAdjuster(SamplingParams(logit_bias=((0, -math.inf),)), [])
    assert isinstance(adjuster.error(np.array([-np.inf], np.float32)), RequestError)
    assert adjuster.error(np.array([np.nan], np.float32)) is None
