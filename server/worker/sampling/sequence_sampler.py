"""One sequence's state between steps: its limits, its chain or random numbers, recent tokens, biases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite

import numpy as np

from models.llamacpp.sampler import Sampler
from models.llamacpp.sampler_params import SamplerParams
from models.llamacpp.vocab import Vocab
from server.worker.sampling.candidates import Floats, Indices
from server.worker.sampling.full_softmax import draw_of_row
from server.worker.sampling.mt19937 import random_numbers
from server.worker.sampling.penalties import Penalties
from server.worker.sampling.truncation import Truncation


class SequenceSampler:
    """How a sequence is sampled; `limits.way` says by which of its parts.

    chain: `chain` does all of it. candidates: `chain` picks from candidates, after biases and penalties were
    put into the logits; so they are for the other ways.
    """

    __slots__ = ("_biases", "_random", "adjusts", "chain", "has_bias", "limits", "penalties")

    def __init__(
        self,
        vocab: Vocab,
        params: SamplerParams,
        prompt_tokens: Sequence[int],
        generator: np.random.RandomState,
    ) -> None:
        """`generator` is borrowed, see `random_numbers`. Raises RequestError naming a wrong parameter."""
        params.check(vocab.n_tokens)
        self.limits = Truncation.of(params, vocab.n_tokens)
        way = self.limits.way
        is_chain = way == "chain"
        self.chain: Sampler | None = None
        if is_chain:
            self.chain = _whole_chain(vocab, params, prompt_tokens)
        elif way == "candidates":
            self.chain = Sampler.chain(vocab, replace(params, logit_bias=(), repeat_last_n=0))
        self.penalties = Penalties(params, prompt_tokens) if params.has_penalties and not is_chain else None
        self.has_bias = bool(params.logit_bias) and not is_chain
        self._biases = _biases(params.logit_bias)
        self.adjusts = self.has_bias or self.penalties is not None
        self._random = random_numbers(generator, params.seed or 0) if way == "row" else None

    def close(self) -> None:
        """Free the chain. Safe to call twice."""
        if self.chain is not None:
            self.chain.close()

    def fits(self, k: int) -> bool:
        """Whether the `k` largest logits of a row are enough to choose from."""
        if self.adjusts:
            return False
        n_needed = self.limits.top_k if self.limits.way == "candidates" else 1
        return self.limits.way in ("greedy", "candidates") and 0 < n_needed <= k

    def add_biases(self, rows: Floats) -> None:
        """Add the request's biases to rows of logits [n, V] in place."""
        for ids, values in self._biases:
            rows[:, ids] += values

    def accept(self, token: int) -> None:
        """Count `token` for penalties."""
        if self.penalties is not None:
            self.penalties.accept(token)

    def pick_of_row(self, row: Floats) -> int | None:
        """The next token from a row of logits [V], to which biases and penalties have been added; for the
        ways that need no chain. None if the row's maximum isn't finite."""
        place = int(row.argmax())  # of a NaN, if there is one
        best = float(row[place])
        if not isfinite(best):
            return None
        return place if self._random is None else draw_of_row(row, best, self.limits, next(self._random))


def _whole_chain(vocab: Vocab, params: SamplerParams, prompt_tokens: Sequence[int]) -> Sampler:
    chain = Sampler.chain(vocab, params)
    if params.needs_prompt:
        n_seen = max(
            params.repeat_last_n if params.has_penalties else 0,
            params.dry_penalty_last_n if params.has_dry else 0,
        )
        for token in prompt_tokens[max(0, len(prompt_tokens) - n_seen) :]:
            chain.accept(token)
    return chain


def _biases(pairs: Sequence[tuple[int, float]]) -> list[tuple[Indices, Floats]]:
    """Biases as arrays; in each a token appears once, since NumPy would count it once."""
    rounds: list[dict[int, float]] = []
    for token, bias in pairs:
        free = next((each for each in rounds if token not in each), None)
        if free is None:
            rounds.append(free := {})
        free[token] = bias
    return [(np.array(list(each), np.intp), np.array(list(each.values()), np.float32)) for each in rounds]
