"""How a request's rows are sampled, and what of a row can matter to it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from models.llamacpp.sampler_params import SamplerParams

Way = Literal["greedy", "candidates", "row", "chain"]
"""greedy: the maximum. candidates: llama.cpp's chain over the few entries that top_k or min_p can leave. row:
no such limit, so it takes the whole row's softmax. chain: llama.cpp's chain over the whole row."""

_COLDEST = 1e-10  # below it llama.cpp's quotients overflow; of different logits the larger one is certain
_SLACK = 1e-3  # of min_p's floor: the chain draws the exact line
_MOST_LINES = 64
_GROUPS_PER_K = 4  # so that a bound from the maxima lets few entries pass that aren't among the k


@dataclass(frozen=True, slots=True)
class Truncation:
    """`log_min_p`: how far below the maximum a logit still counts, -inf without min_p; `floor`: a bit more.

    `needs_all_of_top_k`: the k likeliest share the probability, even those that min_p will drop.
    `n_lines`: into how many lines a row is folded to find its candidates.
    """

    way: Way
    top_k: int
    top_p: float
    log_min_p: float
    floor: float
    temperature: float
    needs_all_of_top_k: bool
    n_lines: int

    @classmethod
    def of(cls, params: SamplerParams, n_vocab: int) -> Truncation:
        """`params` have been checked."""
        top_k = min(max(params.top_k, 0), n_vocab)
        log_min_p = math.log(params.min_p) if params.min_p > 0 else -math.inf
        return cls(
            way=_way(params),
            top_k=top_k,
            top_p=params.top_p,
            log_min_p=log_min_p,
            floor=log_min_p - _SLACK,
            temperature=params.temperature,
            needs_all_of_top_k=params.top_p < 1 or params.typical_p < 1,
            n_lines=n_lines(n_vocab, max(top_k, 1)),
        )


def n_lines(n_vocab: int, top_k: int) -> int:
    """How many lines to fold a row into, so that there are groups enough for `top_k`; a power of two."""
    lines = _MOST_LINES
    while lines > 1 and n_vocab // lines < _GROUPS_PER_K * top_k:
        lines //= 2
    return lines


def _way(params: SamplerParams) -> Way:
    if params.mirostat or params.has_dry:
        return "chain"
    if params.temperature < _COLDEST:
        return "greedy"
    if params.top_n_sigma > 0 or params.min_keep > 0:
        return "chain"
    if params.top_k > 0:
        return "candidates"
    if params.typical_p < 1 or params.xtc_probability > 0 or params.dynatemp_range > 0:
        return "chain"
    return "candidates" if params.min_p > 0 and params.top_p >= 1 else "row"
