"""`Sampling`: which windows of a text are held out, and which of their rows are kept. Pure.

Every eighth window isn't summed: rows of it, evenly spaced, stand for text that wasn't calibrated with. The
choice depends on the text's length alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from quantize.evaluate.windows import N_UBATCH
from quantize.moments.moments import FIRST_ROWS

HELD_OUT_EVERY: Final = 8
"""One window of so many is held out, the last of them."""


@dataclass(frozen=True)
class Sampling:
    """The choice for a text of `n_windows` windows of `n_ctx` tokens."""

    n_windows: int
    n_ctx: int

    @property
    def n_held_out(self) -> int:
        """The number of windows that are held out."""
        return self.n_windows // HELD_OUT_EVERY

    @property
    def n_first(self) -> int:
        """The number of windows whose first tokens' rows are kept."""
        return min(FIRST_ROWS, self.n_windows - self.n_held_out)

    @property
    def graphs(self) -> int:
        """The number of graphs that a window is computed in."""
        return -(-self.n_ctx // N_UBATCH)

    def is_held_out(self, window: int) -> bool:
        """True for a window that isn't summed."""
        return window % HELD_OUT_EVERY == HELD_OUT_EVERY - 1

    def keeps_first(self, window: int) -> bool:
        """True for a summed window whose first token's rows are kept: some, evenly spaced."""
        number = window - window // HELD_OUT_EVERY
        return _share(number, self.n_windows - self.n_held_out, self.n_first) > 0

    def n_kept(self, window: int, product: int, n_products: int, most: int) -> int:
        """Return how many rows of a held-out window's product are kept, of `most` in all.

        It is the `product`-th of `n_products` that an input is in, in each window.
        """
        part = window // HELD_OUT_EVERY * n_products + min(product, n_products - 1)
        return _share(part, self.n_held_out * n_products, most)


def spaced(n_rows: int, n_kept: int) -> npt.NDArray[np.int64]:
    """Return the numbers of `n_kept` rows of `n_rows`, evenly spaced; all where there are no more."""
    if n_kept >= n_rows:
        return np.arange(n_rows)
    return (2 * np.arange(n_kept) + 1) * n_rows // (2 * n_kept)


def _share(part: int, n_parts: int, amount: int) -> int:
    """Return what comes to a part if `amount` is shared out among `n_parts`."""
    return (part + 1) * amount // n_parts - part * amount // n_parts
