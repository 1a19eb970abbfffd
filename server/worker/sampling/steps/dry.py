"""Dry: the "don't repeat yourself" penalty on what would go on with a repetition."""

from __future__ import annotations

import sys

from models.llamacpp.dry_samplers import DrySettings
from models.llamacpp.sampler import SamplerChain, look_back
from models.llamacpp.vocab import Vocab
from server.worker.sampling.steps.step import Step


class Dry(Step):
    """Penalize tokens that would go on with a sequence that was there before, by its length."""

    fields = (
        "dry_multiplier",
        "dry_base",
        "dry_allowed_length",
        "dry_penalty_last_n",
        "dry_sequence_breakers",
    )

    @property
    def is_active(self) -> bool:
        params = self.params
        return params.dry_multiplier != 0 and params.dry_base >= 1 and params.dry_penalty_last_n != 0

    @property
    def n_recent(self) -> int:
        return sys.maxsize if self.params.dry_penalty_last_n < 0 else self.params.dry_penalty_last_n

    def add(self, chain: SamplerChain) -> None:
        params = self.params
        chain.add_dry(
            params.dry_multiplier,
            params.dry_base,
            params.dry_allowed_length,
            params.dry_penalty_last_n,
            params.dry_sequence_breakers,
        )

    def prepare(self, vocab: Vocab, n_ctx: int) -> None:
        """Do what takes time in `add`, once for all chains with these parameters."""
        params = self.params
        vocab.dry_samplers.prepare(
            DrySettings(
                params.dry_multiplier,
                params.dry_base,
                params.dry_allowed_length,
                look_back(params.dry_penalty_last_n, n_ctx),
                params.dry_sequence_breakers,
            )
        )
