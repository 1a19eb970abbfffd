"""What decides how a row is sampled: one request's top_k, top_p, min_p and temperature, ready for use."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from models.llamacpp.sampler_params import SamplerParams
from server.worker.sampling.candidates import n_lines

Way = Literal["greedy", "top_k", "min_p", "row", "chain"]
"""How a row is sampled. greedy: its maximum. top_k: of the k most likely, truncated further. min_p: of all
that are likely enough, in the order of their ids. row: no such limit, so it takes the whole row's softmax.
chain: by llama.cpp's own samplers."""

_COLDEST = 1e-10  # below it llama.cpp's quotients overflow; of different logits the larger one is certain


@dataclass(frozen=True, slots=True)
class Truncation:
    """Floats as llama.cpp rounds them, to 32 bits. Off: top_p 1, log_min_p -inf.

    `n_lines`: into how many lines a row is folded to find its candidates; 0 where that isn't done.
    """

    way: Way
    top_k: int
    top_p: float
    log_min_p: float
    temperature: float
    n_lines: int

    @classmethod
    def of(cls, params: SamplerParams, n_vocab: int) -> Truncation:
        """`params` have been checked."""
        min_p = _rounded(params.min_p)
        top_p = _rounded(params.top_p)
        top_k = min(params.top_k, n_vocab)
        way = _way(params, top_p, min_p)
        return cls(
            way=way,
            top_k=top_k,
            top_p=top_p,
            log_min_p=_rounded(math.log(min_p)) if min_p > 0 else -math.inf,
            temperature=_rounded(params.temperature),
            n_lines=n_lines(n_vocab, max(top_k, 1)) if way in ("top_k", "min_p") else 0,
        )


def _rounded(value: float) -> float:
    return float(np.float32(value))


def _way(params: SamplerParams, top_p: float, min_p: float) -> Way:
    if _needs_chain(params):
        return "chain"
    if params.temperature < _COLDEST:
        return "greedy"
    if params.top_k > 0:
        return "top_k"
    return "min_p" if min_p > 0 and top_p >= 1 else "row"


def _needs_chain(params: SamplerParams) -> bool:
    if params.mirostat or params.has_dry:
        return True
    if params.temperature <= 0:
        return False
    return (
        params.top_n_sigma > 0
        or params.typical_p < 1
        or params.xtc_probability > 0
        or params.dynatemp_range > 0
        or params.min_keep > 0
    )
