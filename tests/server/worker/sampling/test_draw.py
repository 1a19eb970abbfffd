from __future__ import annotations

from math import log
from typing import Any

import pytest

from models.llamacpp.sampler_params import SamplerParams
from server.worker.sampling.draw import draw
from server.worker.sampling.truncation import Truncation

LOGITS = [log(0.2), log(0.4), log(0.1), log(0.3)]


def make_limits(**params: Any) -> Truncation:
    off: dict[str, Any] = {"temperature": 1.0, "top_k": 4, "top_p": 1.0, "min_p": 0.0}
    return Truncation.of(SamplerParams(**{**off, **params}), 100)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, [1, 1, 1, 1, 3, 3, 3, 0, 0, 2]),
        ({"top_k": 0, "min_p": 0.01}, [0, 0, 1, 1, 1, 1, 2, 3, 3, 3]),
        ({"top_k": 2}, [1, 1, 1, 1, 1, 1, 3, 3, 3, 3]),
        ({"top_p": 0.65}, [1, 1, 1, 1, 1, 1, 3, 3, 3, 3]),
        ({"top_p": 0.35}, [1] * 10),
        ({"min_p": 0.6}, [1, 1, 1, 1, 1, 1, 3, 3, 3, 3]),
        ({"min_p": 1.0}, [1] * 10),
        # Of the two likeliest, 4/7 is enough for 0.55 but not for 0.6.
        ({"top_k": 2, "top_p": 0.55}, [1] * 10),
        ({"top_k": 2, "top_p": 0.6}, [1, 1, 1, 1, 1, 1, 3, 3, 3, 3]),
        # top_p counts what min_p will leave out.
        ({"min_p": 0.6, "top_p": 0.5}, [1, 1, 1, 1, 1, 1, 3, 3, 3, 3]),
        ({"temperature": 0.25, "top_k": 2}, [1, 1, 1, 1, 1, 1, 1, 1, 3, 3]),
    ],
)
def test_each_tenth_of_the_numbers(params: dict[str, Any], expected: list[int]) -> None:
    limits = make_limits(**params)
    found = [draw(LOGITS, max(LOGITS), limits, number / 10 + 0.05) for number in range(10)]
    assert found == expected


def test_equal_values_keep_their_places() -> None:
    values = [0.0, 1.0, 0.0, 1.0, 1.0]
    limits = make_limits(top_k=4)
    found = [draw(values, 1.0, limits, number) for number in (0.0, 0.2, 0.4, 0.7, 0.95, 0.999999)]
    assert found == [1, 1, 3, 4, 0, 0]
