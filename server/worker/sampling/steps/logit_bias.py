"""LogitBias: biases that a request adds to the logits of some tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.errors import CorralError, RequestError
from models.llamacpp.sampler import SamplerChain
from server.engine.sampling_params import SamplingParams
from server.worker.sampling.steps.step import Adjuster, Floats, Indices, Step


class BiasAdjuster(Adjuster):
    """The biases of one request as ids and values; in each of `rounds` a token appears once."""

    def __init__(self, params: SamplingParams, prompt_tokens: Sequence[int]) -> None:  # noqa: ARG002 - an `Adjuster`'s
        self.rounds = _rounds(params.logit_bias)

    @classmethod
    def adjust(cls, logits: Floats, rows: Sequence[int], adjusters: Sequence[BiasAdjuster]) -> None:
        for row, adjuster in zip(rows, adjusters, strict=True):
            for ids, values in adjuster.rounds:
                logits[row, ids] += values

    def accept(self, token: int) -> None:
        pass

    def error(self, row: Floats) -> CorralError | None:
        if row.max() == -np.inf:
            return RequestError("logit_bias bans every token; leave at least one", "logit_bias")
        return None


def _rounds(pairs: Sequence[tuple[int, float]]) -> list[tuple[Indices, Floats]]:
    """Split biases so that no round has a token twice: NumPy would count it once."""
    rounds: list[dict[int, float]] = []
    for token, bias in pairs:
        free = next((each for each in rounds if token not in each), None)
        if free is None:
            rounds.append(free := {})
        free[token] = bias
    return [(np.array(list(each), np.intp), np.array(list(each.values()), np.float32)) for each in rounds]


class LogitBias(Step):
    """Add biases to the logits of some tokens."""

    fields = ("logit_bias",)
    adjuster = BiasAdjuster

    @property
    def is_active(self) -> bool:
        return bool(self.params.logit_bias)

    def add(self, chain: SamplerChain) -> None:
        chain.add_logit_bias(self.params.logit_bias)
