"""TypicalP: locally typical sampling (Meister et al., arXiv:2202.00666)."""

from __future__ import annotations

from models.llamacpp.sampler import SamplerChain
from server.worker.sampling.steps.step import Step


class TypicalP(Step):
    """Keep the tokens nearest to the expected information, p of the probability together."""

    fields = ("typical_p",)
    fast = frozenset({"candidates"})

    @property
    def is_active(self) -> bool:
        return self.params.typical_p < 1

    def add(self, chain: SamplerChain) -> None:
        chain.add_typical_p(self.params.typical_p)
