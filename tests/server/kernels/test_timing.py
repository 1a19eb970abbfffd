"""Tests of the timing that decides between Corral's kernels and ggml's."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from models.llamacpp.kernel_library import KernelLibrary, Place, TimedProduct
from models.llamacpp.quantization.ggml_types import GGML_TYPES
from server.kernels.samples import random_columns, random_weights
from server.kernels.timing import COLUMNS, find_loss, share_of_time

Q4_K = GGML_TYPES["Q4_K"]


def test_each_number_of_columns_counts_as_much() -> None:
    ours = {1: 1.0, 8: 2.0, 512: 100.0}
    assert share_of_time(theirs=ours, ours=ours) == 1.0
    assert share_of_time(theirs={1: 2.0, 8: 4.0, 512: 50.0}, ours=ours) == pytest.approx(2.0 ** (1 / 3))
    assert share_of_time(theirs={1: 1.0, 8: 2.0, 512: 25.0}, ours=ours) < 1.0


class ScriptedTimes(KernelLibrary):
    """A library where ggml's kernels take `share` of the time of Corral's; None: ggml has none."""

    def __init__(self, share: float | None) -> None:
        self.share = share
        self.rounds: dict[tuple[Place, int], int] = {}

    def timed(
        self,
        place: Place,
        ggml_type: int,
        weights: npt.NDArray[np.uint8],
        x: npt.NDArray[np.float32],
        *,
        n_threads: int = 1,
        n_repeats: int = 0,
        n_copies: int = 1,
    ) -> TimedProduct | None:
        n_round = self.rounds[place, len(x)] = self.rounds.get((place, len(x)), 0) + 1
        disturbance = 50.0 if n_round == 1 else 1.0  # the first round of each is slow
        out = np.zeros((len(x), len(weights)), np.float32)
        if place is Place.PANELS:
            return TimedProduct(out, 1e-6 * len(x) * disturbance)
        return None if self.share is None else TimedProduct(out, 1e-6 * len(x) * self.share)


@pytest.mark.parametrize(
    ("share", "says"), [(0.7, "here its own take 0.70 of the time of Corral's"), (1.2, None)]
)
def test_the_faster_kernels_are_found_by_the_best_round(share: float, says: str | None) -> None:
    library = ScriptedTimes(share)
    assert find_loss(library, Q4_K) == says
    assert {n for _, n in library.rounds} == set(COLUMNS)


def test_ggml_without_kernels_of_its_own_loses_nothing() -> None:
    assert find_loss(ScriptedTimes(None), Q4_K) is None


def test_products_are_timed_in_every_place_that_takes_them(library: KernelLibrary) -> None:
    weights, columns = random_weights(Q4_K, 512, 64), random_columns(512, 4)
    for place in (Place.PANELS, Place.PLAIN):
        timed = library.timed(place, Q4_K, weights, columns, n_repeats=3)
        assert timed is not None
        assert 0 < timed.seconds < math.inf
    library.use(Q4_K, is_used=False)
    assert library.timed(Place.PANELS, Q4_K, weights, columns, n_repeats=1) is None
