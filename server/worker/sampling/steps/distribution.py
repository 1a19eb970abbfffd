"""Distribution: the draw of a token by its probability, at the end of every list that isn't greedy."""

from __future__ import annotations

from models.llamacpp.sampler import SamplerChain
from server.worker.sampling.steps.step import Step


class Distribution(Step):
    """Draw a token by its probability; it takes one random number."""

    fields = ()
    fast = frozenset({"candidates", "whole_row"})
    picks = True

    @property
    def is_active(self) -> bool:
        return True

    def add(self, chain: SamplerChain) -> None:
        chain.add_distribution()
