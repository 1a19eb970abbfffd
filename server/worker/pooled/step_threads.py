"""`StepThreads`: a step of texts with as many threads as are quickest just now.

As for answers (`run/adaptive_threads.py`): where another program shares a core, threads that wait for each
other take many times as long as one that has its core to itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from server.worker.run.adaptive_threads import AdaptiveThreads

_EXACT_BITS = 4
"""Steps whose numbers of tokens have the same first bits count as of one size: their times differ little."""


class Threaded(Protocol):
    """A context that computes with several threads."""

    n_threads: int
    n_threads_batch: int

    def set_n_threads(self, n_threads: int, n_threads_batch: int | None = None) -> None:
        """Compute with so many from now on."""


class StepThreads:
    """Times steps, and sets the context's threads before each. One thread calls it."""

    def __init__(
        self,
        context: Threaded,
        adaptive: AdaptiveThreads | None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`adaptive` None: the number of threads stays."""
        self._context = context
        self._most = context.n_threads
        self._most_batch = context.n_threads_batch
        self._adaptive = adaptive
        self._n_threads = context.n_threads
        self._clock_s = clock_s

    def run(self, compute: Callable[[], None], n_tokens: int) -> None:
        """Compute a step of so many tokens. Raises what `compute` raises, of which nothing is learned."""
        adaptive = self._adaptive
        if adaptive is None:
            compute()
            return
        if adaptive.n_threads != self._n_threads:
            self._n_threads = adaptive.n_threads
            is_all = self._n_threads == self._most
            self._context.set_n_threads(self._n_threads, self._most_batch if is_all else self._n_threads)
        start_s = self._clock_s()
        compute()
        end_s = self._clock_s()
        adaptive.record(size_of(n_tokens), end_s - start_s, end_s)


def size_of(n_tokens: int) -> int:
    """Return the number of tokens that stands for all steps of about this size: its first four bits."""
    shift = max(0, n_tokens.bit_length() - _EXACT_BITS)
    return n_tokens >> shift << shift
