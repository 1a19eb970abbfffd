"""`TokenBans`: finds the tokens that grammars rule out, while the model computes."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from server.worker.sampling.sequence_guide import SequenceGuide

if TYPE_CHECKING:
    from llguidance import LLExecutor, LLMatcher

THREADS_MAX = 4
"""At most so many threads compute masks: most take microseconds."""

SLOW_S = 0.002
"""Masks that take longer than this together have one among them that may be dear."""
N_EXAMINED = 64
"""For so many steps each mask is then computed by itself, and its time counted."""

Wanted = tuple[SequenceGuide, list[int]]
"""A guide and its sequence's draft: bans are wanted for the next row, and after each token of the draft."""


class TokenBans:
    """Sets `bans` of guides. `start` and `wait` are called in turn, by one thread.

    The masks are computed by a thread of its own: that neither holds Python's lock nor the engine. Nothing
    may be consumed in between.
    """

    def __init__(self, n_vocab: int) -> None:
        self._n_vocab = n_vocab
        self._n_words = -(-n_vocab // 32)
        self._thread: ThreadPoolExecutor | None = None
        self._executor: LLExecutor | None = None
        self._running: Future[None] | None = None
        self._n_examined = 0
        """The number of steps in which masks are still computed one by one."""

    def start(self, wanted: Sequence[Wanted]) -> None:
        """Begin to compute the bans of the next rows."""
        self.wait()
        if not wanted:
            return
        if self._thread is None:
            from llguidance import LLExecutor

            self._thread = ThreadPoolExecutor(1, "masks")
            self._executor = LLExecutor(max(1, min(THREADS_MAX, (os.cpu_count() or 1) - 1)))
        self._running = self._thread.submit(self._compute, list(wanted))

    def wait(self) -> None:
        """Return when the bans are there."""
        if self._running is not None:
            running, self._running = self._running, None
            running.result()

    def _compute(self, wanted: list[Wanted]) -> None:
        assert self._executor is not None
        n_rows = sum(1 + len(draft) for _, draft in wanted)
        words = np.zeros((n_rows, self._n_words), np.int32)
        plain: list[tuple[LLMatcher, int]] = []
        plain_guides: list[tuple[SequenceGuide, int]] = []
        drafted: list[tuple[LLMatcher, int, list[int]]] = []
        first_rows: list[int] = []
        at = 0
        for guide, draft in wanted:
            assert guide.matcher is not None
            if draft:
                drafted.append((guide.matcher, at, draft))
            else:
                plain.append((guide.matcher, at))
                plain_guides.append((guide, at))
            first_rows.append(at)
            at += 1 + len(draft)
        memory = words.ctypes.data, self._n_words * 4, n_rows
        if plain and self._n_examined:
            self._n_examined -= 1
            self._examine(plain_guides, words)
        elif plain:
            begin = time.perf_counter()
            self._executor.unsafe_compute_mask_ptr(plain, *memory)
            if time.perf_counter() - begin > SLOW_S:
                self._n_examined = N_EXAMINED
        if drafted:
            self._executor.unsafe_compute_mask_ptr_with_draft_token(drafted, *memory)
        bits = np.unpackbits((~words).view(np.uint8), axis=1, count=self._n_vocab, bitorder="little")
        bans = bits.view(np.bool_)
        for (guide, draft), first in zip(wanted, first_rows, strict=True):
            guide.bans = list(bans[first : first + 1 + len(draft)])
            if guide.matcher is not None and guide.matcher.is_error():
                guide.fail()

    def _examine(self, guides: list[tuple[SequenceGuide, int]], words: npt.NDArray[np.int32]) -> None:
        """Compute masks one by one, each into its row of words, and count what each takes."""
        for guide, row in guides:
            assert guide.matcher is not None
            begin = time.thread_time()
            guide.matcher.unsafe_compute_mask_ptr(words[row].ctypes.data, self._n_words * 4)
            guide.count_mask(time.thread_time() - begin)
