"""Temperature: greedy at 0, else fixed or moved by the distribution's entropy (dynamic)."""

from __future__ import annotations

from models.llamacpp.sampler import SamplerChain
from server.worker.sampling.steps.step import Step

_COLDEST = 1e-10
"""Below this temperature llama.cpp's quotients overflow; of different logits the larger one is certain."""


class Greedy(Step):
    """Pick the likeliest token, as a temperature of 0 does; truncations can't change which one that is."""

    fields = ()
    fast = frozenset({"argmax"})
    picks = True

    @property
    def is_active(self) -> bool:
        return self.params.temperature < _COLDEST

    def add(self, chain: SamplerChain) -> None:
        chain.add_greedy()


class Temperature(Step):
    """Divide the logits by the temperature."""

    fields = ("temperature",)
    fast = frozenset({"candidates", "whole_row"})

    @property
    def is_active(self) -> bool:
        return self.params.dynatemp_range <= 0

    def add(self, chain: SamplerChain) -> None:
        chain.add_temperature(self.params.temperature)


class DynamicTemperature(Step):
    """Divide the logits by a temperature that is higher the more even the distribution is (arXiv:2309.02772).

    It lies within `dynatemp_range` of `temperature`.
    """

    fields = ("dynatemp_range", "dynatemp_exponent")
    fast = frozenset({"candidates"})

    @property
    def is_active(self) -> bool:
        return self.params.dynatemp_range > 0

    def add(self, chain: SamplerChain) -> None:
        params = self.params
        chain.add_temperature(params.temperature, params.dynatemp_range, params.dynatemp_exponent)
