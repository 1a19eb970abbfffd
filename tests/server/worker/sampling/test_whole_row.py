from __future__ import annotations

from itertools import islice

import numpy as np

from server.worker.sampling.whole_row import random_numbers


def make_generator() -> np.random.RandomState:
    return np.random.RandomState(1)


def test_it_is_the_standards_mersenne_twister() -> None:
    """The C++ standard: the 10,000th number of a mt19937 seeded with 5489 is 4123659995."""
    number = next(islice(random_numbers(make_generator(), 5489), 4999, None))
    assert int(number * 2**32) == 4123659995


def test_sources_that_share_a_generator_dont_meet() -> None:
    generator = make_generator()
    first, second = random_numbers(generator, 1), random_numbers(generator, 2)
    found = [(next(first), next(second)) for _ in range(1000)]
    assert [a for a, _ in found] == list(islice(random_numbers(make_generator(), 1), 1000))
    assert [b for _, b in found] == list(islice(random_numbers(make_generator(), 2), 1000))
    assert len({a for a, _ in found}) == 1000
    assert all(0 <= a < 1 for a, _ in found)
