"""Xtc: "exclude top choices", which drops the likeliest tokens at random."""

from __future__ import annotations

from models.llamacpp.sampler import SamplerChain
from server.worker.sampling.steps.step import Step


class Xtc(Step):
    """With a probability, drop all tokens above a threshold but the least likely of them."""

    fields = ("xtc_probability", "xtc_threshold")
    fast = frozenset({"candidates"})

    @property
    def is_active(self) -> bool:
        return self.params.xtc_probability > 0

    @property
    def has_replay(self) -> bool:
        """True without a seed: it draws no number where one token is left, and others are as good then."""
        return self.params.seed is None

    def add(self, chain: SamplerChain) -> None:
        chain.add_xtc(self.params.xtc_probability, self.params.xtc_threshold)
