"""TopK: truncation to the likeliest k tokens."""

from __future__ import annotations

from models.llamacpp.sampler import SamplerChain
from server.worker.sampling.steps.step import Bound, Step


class TopK(Step):
    """Keep the k likeliest tokens."""

    fields = ("top_k",)
    fast = frozenset({"candidates"})

    @property
    def is_active(self) -> bool:
        return self.params.top_k > 0

    @property
    def bound(self) -> Bound:
        return Bound(top_k=self.params.top_k)

    def add(self, chain: SamplerChain) -> None:
        chain.add_top_k(self.params.top_k)
