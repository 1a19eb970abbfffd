"""A request's sampling in the terms of llama.cpp's chain."""

from __future__ import annotations

from models.llamacpp.sampler_params import SamplerParams
from server.engine.sampling_params import SamplingParams


def sampler_params(params: SamplingParams, seed: int, n_ctx: int) -> SamplerParams:
    """A request's sampling as the chain takes it; `n_ctx`: how far DRY looks back if not told."""
    return SamplerParams(
        temperature=params.temperature,
        dynatemp_range=params.dynatemp_range,
        dynatemp_exponent=params.dynatemp_exponent,
        top_k=params.top_k,
        top_p=params.top_p,
        min_p=params.min_p,
        typical_p=params.typical_p,
        top_n_sigma=-1.0 if params.top_n_sigma is None else params.top_n_sigma,
        xtc_probability=params.xtc_probability,
        xtc_threshold=params.xtc_threshold,
        repeat_penalty=params.repeat_penalty,
        repeat_last_n=params.repeat_last_n,
        presence_penalty=params.presence_penalty,
        frequency_penalty=params.frequency_penalty,
        dry_multiplier=params.dry_multiplier,
        dry_base=params.dry_base,
        dry_allowed_length=params.dry_allowed_length,
        dry_penalty_last_n=n_ctx if params.dry_penalty_last_n is None else params.dry_penalty_last_n,
        dry_sequence_breakers=params.dry_sequence_breakers,
        mirostat=params.mirostat,
        mirostat_tau=params.mirostat_tau,
        mirostat_eta=params.mirostat_eta,
        seed=seed,
        logit_bias=params.logit_bias,
    )
