"""Mirostat: draws so that the text's surprise stays near a target (Basu et al., arXiv:2007.14966)."""

from __future__ import annotations

from models.llamacpp.sampler import SamplerChain
from server.worker.sampling.steps.step import Step


class Mirostat(Step):
    """Draw by mirostat 1 or 2, after the biases and the temperature alone, as in llama.cpp."""

    fields = ("mirostat", "mirostat_tau", "mirostat_eta")
    picks = True

    @property
    def is_active(self) -> bool:
        return self.params.mirostat > 0

    @property
    def has_replay(self) -> bool:
        return False  # it follows the probabilities that the tokens had

    def add(self, chain: SamplerChain) -> None:
        chain.add_temperature(self.params.temperature)
        chain.add_mirostat(self.params.mirostat, self.params.mirostat_tau, self.params.mirostat_eta)
