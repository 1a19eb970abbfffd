"""The random numbers of one sequence: those llama.cpp draws for the same seed.

llama.cpp draws from std::mt19937 through std::uniform_real_distribution<double>, which joins two 32-bit
numbers, the first one the lower, to a fraction of 2**64. NumPy's legacy seeding is that generator's seeding.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_BLOCK = 256
_SEEDS = 0xFFFFFFFF  # this seed means "draw one" to llama.cpp; Sampler.chain takes seeds modulo it, too
_BELOW_ONE = float(np.nextafter(1.0, 0.0))


def random_numbers(generator: np.random.RandomState, seed: int) -> Iterator[float]:
    """Endless numbers in [0, 1). `generator` is used at a refill only; all of a thread may share one."""
    generator.seed(seed % _SEEDS)
    while True:
        pairs = np.frombuffer(generator.bytes(8 * _BLOCK), "<u8")
        state = generator.get_state()
        yield from np.minimum(pairs / 2.0**64, _BELOW_ONE).tolist()
        generator.set_state(state)
