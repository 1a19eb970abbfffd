"""TopP: nucleus sampling (Holtzman et al., arXiv:1904.09751)."""

from __future__ import annotations

from models.llamacpp.sampler import SamplerChain
from server.worker.sampling.steps.step import Step


class TopP(Step):
    """Keep the likeliest tokens, p of the probability together."""

    fields = ("top_p",)
    fast = frozenset({"candidates", "whole_row"})

    @property
    def is_active(self) -> bool:
        return self.params.top_p < 1

    def add(self, chain: SamplerChain) -> None:
        chain.add_top_p(self.params.top_p)
