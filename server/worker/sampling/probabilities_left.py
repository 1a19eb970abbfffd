"""`ProbabilitiesLeft`: the probabilities with which tokens were drawn, behind all samplers.

A chain of the sequence's samplers runs over each row once more, with the same seed, beside those that choose:
they take whatever way is quickest, and mostly never know these numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log

import numpy as np

from models.llamacpp.vocab import Vocab
from server.engine.events import TokenLogprob
from server.engine.sampling_params import SamplingParams
from server.worker.run.logprobs import not_finite
from server.worker.sampling.chain import active_steps, make_chain
from server.worker.sampling.steps.step import Floats
from server.worker.sampling.steps.temperature import Greedy


class ProbabilitiesLeft:
    """One sequence's chain until `close`. It is shown every row and token of the sequence, in their order."""

    def __init__(
        self, vocab: Vocab, params: SamplingParams, seed: int, prompt_tokens: Sequence[int], n_ctx: int
    ) -> None:
        steps = active_steps(params)
        self._is_greedy = isinstance(steps[-1], Greedy)
        self._chain = make_chain(vocab, steps, seed, n_ctx, prompt_tokens)

    def close(self) -> None:
        """Free the chain. Safe to call twice."""
        self._chain.close()

    def replay(self, token: int) -> None:
        """Take in a token that was drawn elsewhere."""
        self._chain.skip_draw()
        self._chain.accept(token)

    def of(
        self, rows: Floats, tokens: Sequence[int], n_top: int, piece: Callable[[int], bytes]
    ) -> list[TokenLogprob]:
        """Return the log of each token's probability by its row of `rows` [n, V], in which bans are -inf.

        With `n_top` alternatives, likeliest first: none that was left out. A token that didn't come from its
        row, as a grammar left no other, is certain. Raises LlamaCppError for a row without a finite maximum.
        """
        return [self._one(row, token, n_top, piece) for row, token in zip(rows, tokens, strict=False)]

    def _one(self, row: Floats, token: int, n_top: int, piece: Callable[[int], bytes]) -> TokenLogprob:
        if not np.isfinite(row.max()):
            raise not_finite()
        left: dict[int, float] = {}
        if not self._is_greedy:
            candidates = self._chain.apply(row)
            order = np.argsort(-candidates.probabilities, kind="stable")
            left = {
                int(candidates.ids[place]): float(candidates.probabilities[place])
                for place in order
                if candidates.probabilities[place] > 0
            }
        self._chain.accept(token)
        if token not in left:
            left = {token: 1.0}
        top = [(other, piece(other), log(p)) for other, p in list(left.items())[:n_top]]
        return TokenLogprob(token, piece(token), log(left[token]), tuple(top))
