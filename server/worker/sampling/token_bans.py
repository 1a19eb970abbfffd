"""`TokenBans`: finds the tokens that grammars rule out, before or while the model computes."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from server.worker.sampling.row_bans import BanReader, Words, n_words
from server.worker.sampling.sequence_guide import SequenceGuide

if TYPE_CHECKING:
    from llguidance import LLExecutor, LLMatcher

THREADS_MAX = 4
"""At most so many threads compute the masks after drafts: most take microseconds."""

SLOW_S = 0.002
"""Masks that take longer than this together have one among them that may be dear."""
N_EXAMINED = 64
"""For so many steps each mask's time is then counted."""

Wanted = tuple[SequenceGuide, list[int]]
"""A guide and its sequence's draft: bans are wanted for the next row, and after each token of the draft."""


class TokenBans:
    """Sets `bans` of guides. `start` and `wait` are called in turn, by one thread.

    Where the model leaves a core free, a thread of its own computes the masks beside it; it holds neither
    Python's lock nor the engine, and nothing may be consumed in between. Where the model has all cores, that
    thread would take one from it, and the others wait for it as long: there they are computed at once.
    """

    def __init__(self, n_vocab: int, *, has_free_core: bool) -> None:
        """`has_free_core`: the model leaves a core free while it computes."""
        self._reader = BanReader(n_vocab)
        self._n_words = n_words(n_vocab)
        self._has_free_core = has_free_core
        self._thread: ThreadPoolExecutor | None = None
        self._executor: LLExecutor | None = None
        self._running: Future[None] | None = None
        self._n_examined = 0
        """The number of steps in which the time of each mask is still counted."""

    def start(self, wanted: Sequence[Wanted]) -> None:
        """Begin to compute the bans of the next rows, or do it."""
        self.wait()
        if not wanted:
            return
        if not self._has_free_core:
            self._compute(wanted)
            return
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "masks")
        self._running = self._thread.submit(self._compute, list(wanted))

    def wait(self) -> None:
        """Return when the bans are there."""
        if self._running is not None:
            running, self._running = self._running, None
            running.result()

    def _compute(self, wanted: Sequence[Wanted]) -> None:
        n_rows = sum(1 + len(draft) for _, draft in wanted)
        words: Words = np.zeros((n_rows, self._n_words), np.uint32)
        plain: list[tuple[SequenceGuide, int]] = []
        drafted: list[tuple[LLMatcher, int, list[int]]] = []
        first_rows: list[int] = []
        at = 0
        for guide, draft in wanted:
            assert guide.matcher is not None
            if draft:
                drafted.append((guide.matcher, at, draft))
            else:
                plain.append((guide, at))
            first_rows.append(at)
            at += 1 + len(draft)
        if plain:
            self._mask(plain, words)
        if drafted:
            row_bytes = self._n_words * 4
            self._threads.unsafe_compute_mask_ptr_with_draft_token(
                drafted, words.ctypes.data, row_bytes, n_rows
            )
        bans = self._reader.read(words)
        for (guide, draft), first in zip(wanted, first_rows, strict=True):
            guide.bans = bans[first : first + 1 + len(draft)]
            if guide.matcher is not None and guide.matcher.is_error():
                guide.fail()

    @property
    def _threads(self) -> LLExecutor:
        if self._executor is None:
            from llguidance import LLExecutor

            self._executor = LLExecutor(max(1, min(THREADS_MAX, (os.cpu_count() or 1) - 1)))
        return self._executor

    def _mask(self, guides: list[tuple[SequenceGuide, int]], words: Words) -> None:
        """Compute a mask for each guide into its row of words, one after another.

        Handing microseconds of work to other threads takes longer than doing it.
        """
        if self._n_examined:
            self._n_examined -= 1
            self._examine(guides, words)
            return
        address, row_bytes = words.ctypes.data, self._n_words * 4
        begin = time.perf_counter()
        for guide, row in guides:
            assert guide.matcher is not None
            guide.matcher.unsafe_compute_mask_ptr(address + row * row_bytes, row_bytes)
        if time.perf_counter() - begin > SLOW_S:
            self._n_examined = N_EXAMINED

    def _examine(self, guides: list[tuple[SequenceGuide, int]], words: Words) -> None:
        """Compute masks as `_mask` does, and count what each takes."""
        address, row_bytes = words.ctypes.data, self._n_words * 4
        for guide, row in guides:
            assert guide.matcher is not None
            begin = time.thread_time()
            guide.matcher.unsafe_compute_mask_ptr(address + row * row_bytes, row_bytes)
            guide.count_mask(time.thread_time() - begin)
