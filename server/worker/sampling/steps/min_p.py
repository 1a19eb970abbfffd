"""MinP: truncation relative to the likeliest token (arXiv:2407.01082)."""

from __future__ import annotations

import math

from models.llamacpp.sampler import SamplerChain
from server.worker.sampling.steps.step import Bound, Step

_SLACK = 1e-3
"""The bound lies this much below the exact line, in logits: the chain draws that one."""


class MinP(Step):
    """Keep the tokens that are at least p times as likely as the likeliest."""

    fields = ("min_p",)
    fast = frozenset({"candidates", "whole_row"})

    @property
    def is_active(self) -> bool:
        return self.params.min_p > 0

    @property
    def bound(self) -> Bound:
        return Bound(floor=math.log(self.params.min_p) - _SLACK)

    def add(self, chain: SamplerChain) -> None:
        chain.add_min_p(self.params.min_p)
