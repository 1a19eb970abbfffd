"""SequenceSampler: one sequence's sampling state between steps of the engine."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import numpy as np

from models.errors import CorralError
from models.llamacpp.sampler import SamplerChain
from models.llamacpp.vocab import Vocab
from server.engine.sampling_params import SamplingParams
from server.worker.run.logprobs import not_finite
from server.worker.sampling.chain import active_steps, make_chain
from server.worker.sampling.fast_path import recognize
from server.worker.sampling.sequence_guide import SequenceGuide
from server.worker.sampling.steps.step import Floats
from server.worker.sampling.whole_row import WholeRow


class SequenceSampler:
    """A sequence's adjusters, and its chain or random numbers; `way` says which of them picks a token.

    chain: `chain` does all of it. candidates: `chain` picks from candidates of an adjusted row. argmax,
    whole_row: `pick_of_row` does it.
    """

    __slots__ = ("_n_largest", "_whole_row", "adjusters", "chain", "changing", "guide", "limits", "way")

    def __init__(
        self,
        vocab: Vocab,
        params: SamplingParams,
        seed: int,
        prompt_tokens: Sequence[int],
        n_ctx: int,
        generator: np.random.RandomState,
        guide: SequenceGuide | None = None,
    ) -> None:
        """`generator` is borrowed, see `random_numbers`. Raises RequestError naming a wrong parameter."""
        params.check(vocab.n_tokens)
        self.guide = guide
        """The grammar of the sequence and what is forced on it; None: nothing."""
        path = recognize(active_steps(params), vocab.n_tokens)
        self.way = path.way
        self.limits = path.limits
        self.adjusters = tuple(
            step.adjuster(params, prompt_tokens) for step in path.adjusting if step.adjuster
        )
        self.changing = tuple(adjuster for adjuster in self.adjusters if adjuster.changes)
        """The adjusters that depend on the tokens just chosen."""
        self.chain: SamplerChain | None = None
        if path.chained:
            self.chain = make_chain(vocab, path.chained, seed, n_ctx, prompt_tokens)
        self._whole_row = WholeRow(params, seed, generator) if path.way == "whole_row" else None
        self._n_largest = 0
        if not self.adjusters:
            self._n_largest = {"argmax": 1, "candidates": path.limits.top_k}.get(path.way, 0)

    def close(self) -> None:
        """Free the chain. Safe to call twice."""
        if self.chain is not None:
            self.chain.close()

    def fits(self, k: int) -> bool:
        """Return True if the `k` largest logits of a row are enough to choose from."""
        return 0 < self._n_largest <= k and not self.is_guided

    @property
    def is_guided(self) -> bool:
        """True if a grammar or forced tokens have a say in the next token."""
        return self.guide is not None and self.guide.is_active

    def accept(self, token: int) -> None:
        """Count `token` for the adjusters that depend on it; a chain has counted it itself."""
        for adjuster in self.changing:
            adjuster.accept(token)

    def count(self, token: int) -> None:
        """Count a token that was forced: nothing has counted it yet."""
        for adjuster in self.changing:
            adjuster.accept(token)
        if self.chain is not None and self.way == "chain":
            self.chain.accept(token)

    def replay(self, token: int) -> None:
        """Take in a token that was drawn elsewhere: its random numbers are used up, and it is counted."""
        if self._whole_row is not None:
            self._whole_row.skip()
        elif self.chain is not None:
            self.chain.skip_draw()
        self.count(token)

    def pick_of_row(self, row: Floats) -> int | None:
        """Return the next token of an adjusted row of logits [V], for the ways without a chain.

        None if the row's maximum isn't finite.
        """
        place = int(row.argmax())  # of a NaN, if there is one
        best = float(row[place])
        if not isfinite(best):
            return None
        return place if self._whole_row is None else self._whole_row.draw(row, best)

    def error(self, row: Floats) -> CorralError:
        """Return the error of a row [V] whose maximum isn't finite."""
        errors = (adjuster.error(row) for adjuster in self.adjusters)
        return next((error for error in errors if error is not None), not_finite())
