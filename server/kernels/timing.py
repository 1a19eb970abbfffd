"""The timing that decides between our kernels and ggml's own, on processors where either may win.

Those are processors with AMX, for which ggml has kernels too. Elsewhere ours were faster wherever they were
measured, and nothing is timed when a worker starts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from models.llamacpp.kernel_library import KernelLibrary, Place
from server.kernels.samples import random_columns, random_weights

AMX_SET = "amx-int8"
"""A processor that has this set is one where either may win."""
COLUMNS = (1, 8, 512)
"""So many columns are multiplied: those of one answer, of eight, and of a prompt. Each counts as much."""
INPUTS, ROWS = 1024, 512
"""The size of the matrix that is multiplied."""
MULTIPLICATIONS = 1 << 25
"""A figure takes at least so many of them, which are a millisecond or more."""
ROUNDS = 2
"""The places take turns; of each the best round counts."""

Seconds = Mapping[int, float]
"""The processor seconds of a product, by columns."""


def share_of_time(theirs: Seconds, ours: Seconds) -> float:
    """Return their time as a share of ours, the geometric mean over the numbers of columns that both have."""
    columns = theirs.keys() & ours.keys()
    return math.exp(sum(math.log(theirs[n] / ours[n]) for n in columns) / len(columns))


def find_loss(library: KernelLibrary, ggml_type: int) -> str | None:
    """Return how ggml's kernels beat those of the chosen set for this type; None if they don't."""
    seconds: dict[Place, dict[int, float]] = {Place.PANELS: {}, Place.EXTRA: {}}
    weights = random_weights(ggml_type, INPUTS, ROWS)
    for n in COLUMNS:
        columns = random_columns(INPUTS, n)
        repeats = max(1, MULTIPLICATIONS // (INPUTS * ROWS * n))
        for _ in range(ROUNDS):
            for place, found in seconds.items():
                taken = library.timed(place, ggml_type, weights, columns, n_repeats=repeats)
                if taken is None:
                    return None  # ggml has nothing of its own but the plain product
                found[n] = min(taken.seconds, found.get(n, math.inf))
    share = share_of_time(theirs=seconds[Place.EXTRA], ours=seconds[Place.PANELS])
    return None if share >= 1 else f"here its own take {share:.2f} of the time of Corral's"
