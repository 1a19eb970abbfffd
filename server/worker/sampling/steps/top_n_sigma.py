"""TopNSigma: truncation by the logits' standard deviation (arXiv:2411.07641)."""

from __future__ import annotations

from models.llamacpp.sampler import SamplerChain
from server.worker.sampling.steps.step import Step


class TopNSigma(Step):
    """Keep the tokens whose logit is within n standard deviations, of the whole row, of the largest."""

    fields = ("top_n_sigma",)

    @property
    def is_active(self) -> bool:
        return self.params.top_n_sigma > 0

    def add(self, chain: SamplerChain) -> None:
        chain.add_top_n_sigma(self.params.top_n_sigma)
