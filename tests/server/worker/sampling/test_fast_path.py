from __future__ import annotations

from typing import Any

import pytest

from server.engine.sampling_params import SamplingParams
from server.worker.sampling.candidates import Limits
from server.worker.sampling.chain import STEPS, active_steps
from server.worker.sampling.fast_path import FastPath, Way, recognize

OFF: dict[str, Any] = {"top_k": 0, "top_p": 1.0, "min_p": 0.0}
N_VOCAB = 1000


def path_of(**params: Any) -> FastPath:
    return recognize(active_steps(SamplingParams(**params)), N_VOCAB)


@pytest.mark.parametrize(
    ("params", "way"),
    [
        ({}, "candidates"),
        ({"top_k": 10, "typical_p": 0.5, "xtc_probability": 0.5, "dynatemp_range": 0.2}, "candidates"),
        ({"repeat_penalty": 1.1, "logit_bias": ((1, 1.0),)}, "candidates"),
        ({**OFF, "min_p": 0.1}, "candidates"),
        ({**OFF, "min_p": 0.1, "xtc_probability": 0.5}, "candidates"),
        ({**OFF, "min_p": 0.1, "top_p": 0.9}, "whole_row"),
        ({**OFF, "top_p": 0.9}, "whole_row"),
        (OFF, "whole_row"),
        ({"temperature": 0.0}, "argmax"),
        ({"temperature": 1e-11}, "argmax"),
        ({"temperature": 0.0, "top_n_sigma": 1.0, "repeat_penalty": 1.5}, "argmax"),
        ({"temperature": 0.0, "dry_multiplier": 1.0}, "chain"),
        ({"dry_multiplier": 1.0}, "chain"),
        ({"top_n_sigma": 1.0}, "chain"),
        ({"mirostat": 1}, "chain"),
        ({**OFF, "typical_p": 0.5}, "chain"),
        ({**OFF, "typical_p": 0.5, "min_p": 0.1}, "chain"),
        ({**OFF, "xtc_probability": 0.5}, "chain"),
        ({**OFF, "dynatemp_range": 0.5}, "chain"),
    ],
)
def test_the_way_follows_from_the_list(params: dict[str, Any], way: Way) -> None:
    assert path_of(**params).way == way


def test_each_step_is_done_once() -> None:
    params: dict[str, Any] = {"logit_bias": ((1, 1.0),), "repeat_penalty": 1.1}
    for has_dry in (False, True):
        steps = active_steps(SamplingParams(**params, dry_multiplier=float(has_dry)))
        path = recognize(steps, N_VOCAB)
        assert [*path.adjusting, *path.chained] == steps
        assert len(path.adjusting) == (0 if has_dry else 2)


@pytest.mark.parametrize(
    ("params", "top_k", "has_floor"),
    [
        ({"top_p": 1.0}, 40, True),
        ({}, 40, False),  # all of top_k share the probability that top_p cuts
        ({"top_p": 1.0, "typical_p": 0.5}, 40, False),
        ({"top_k": 10**6, "top_p": 1.0}, N_VOCAB, True),
        ({**OFF, "min_p": 0.5}, 0, True),
        ({**OFF, "top_k": 7}, 7, False),
    ],
)
def test_bounds_count_up_to_the_first_step_that_has_none(
    params: dict[str, Any], top_k: int, has_floor: bool
) -> None:
    limits: Limits = path_of(**params).limits
    assert (limits.top_k, limits.floor > -100) == (top_k, has_floor)


def test_adjusting_steps_come_before_all_that_have_a_fast_way() -> None:
    """So a list has them at its front, unless the whole chain is needed anyway."""
    adjusting = [place for place, step in enumerate(STEPS) if step.adjuster is not None]
    others = [place for place, step in enumerate(STEPS) if step.fast]
    assert max(adjusting) < min(others)
