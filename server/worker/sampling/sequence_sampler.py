"""One sequence's state between steps: its limits, random numbers, recent tokens, biases, or a chain."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import numpy as np

from models.llamacpp.sampler import Sampler
from models.llamacpp.sampler_params import SamplerParams
from models.llamacpp.vocab import Vocab
from server.worker.sampling.candidates import Floats, FoldedRows, Indices
from server.worker.sampling.draw import draw
from server.worker.sampling.penalties import Penalties
from server.worker.sampling.random_source import random_numbers
from server.worker.sampling.truncation import Truncation
from server.worker.sampling.whole_row import draw_of_row


class SequenceSampler:
    """How a sequence is sampled. With a `chain` that does all of it, and the rest is unused."""

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
        is_chain = self.limits.way == "chain"
        self.chain = _chain(vocab, params, prompt_tokens) if is_chain else None
        self.penalties = Penalties(params, prompt_tokens) if params.has_penalties and not is_chain else None
        self.has_bias = bool(params.logit_bias) and not is_chain
        self._biases = _biases(params.logit_bias)
        self.adjusts = self.has_bias or self.penalties is not None
        self._random = random_numbers(generator, params.seed or 0)

    def close(self) -> None:
        """Free the chain. Safe to call twice."""
        if self.chain is not None:
            self.chain.close()

    def add_biases(self, rows: Floats) -> None:
        """Add the request's biases to rows of logits [n, V] in place."""
        for ids, values in self._biases:
            rows[:, ids] += values

    def accept(self, token: int) -> None:
        """Count `token` for penalties."""
        if self.penalties is not None:
            self.penalties.accept(token)

    def pick(self, logits: Floats, row: int, folded: FoldedRows | None) -> int | None:
        """The next token from row `row` of logits [R, V], to which biases and penalties have been added.

        Uses up one random number, unless greedy. `folded`: the same rows, folded for this sampler's
        `limits.n_lines`; None if they aren't. None is the answer if the row's maximum isn't finite.
        """
        if self.limits.n_lines == 0:
            return self._pick_of_row(logits[row])
        if folded is None:
            return self._pick_folded(FoldedRows(logits[row : row + 1], self.limits.n_lines), 0)
        return self._pick_folded(folded, row)

    def _pick_folded(self, folded: FoldedRows, row: int) -> int | None:
        best = folded.best[row]
        if not isfinite(best):
            return None
        number = next(self._random)
        limits = self.limits
        floor = best + limits.log_min_p
        only = folded.only_token(row, floor)
        if only is not None:
            return only
        bound = floor
        if limits.top_k > 0:
            bound = folded.bound(row, limits.top_k)
            if limits.top_p >= 1 and bound < floor:  # else all of the top_k have a part in the mass
                bound = floor
        candidates = folded.at_least(row, bound)
        return candidates.token(draw(candidates.values, best, limits, number))

    def _pick_of_row(self, row: Floats) -> int | None:
        place = int(row.argmax())  # of a NaN, if there is one
        best = float(row[place])
        if not isfinite(best):
            return None
        if self.limits.way == "greedy":
            return place
        return draw_of_row(row, best, self.limits, next(self._random))


def _chain(vocab: Vocab, params: SamplerParams, prompt_tokens: Sequence[int]) -> Sampler:
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
