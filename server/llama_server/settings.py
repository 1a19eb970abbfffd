"""`generation_settings`: the object in which llama-server tells a request's parameters. Pure."""

from __future__ import annotations

from typing import Any

from server.engine.events import RequestReading
from server.engine.sampling_params import SamplingParams
from server.ipc.messages import Generate
from server.llama_server.to_engine import SAMPLERS

_RANDOM_SEED = (1 << 32) - 1
"""llama-server's word for a seed that is drawn."""


def sampling_settings(params: SamplingParams) -> dict[str, Any]:
    """Return the parameters of sampling under llama-server's names, with its words for what is off."""
    n_predict = -1 if params.max_tokens is None else params.max_tokens
    return {
        "seed": _RANDOM_SEED if params.seed is None else params.seed,
        "temperature": params.temperature,
        "dynatemp_range": params.dynatemp_range,
        "dynatemp_exponent": params.dynatemp_exponent,
        "top_k": params.top_k,
        "top_p": params.top_p,
        "min_p": params.min_p,
        "top_n_sigma": params.top_n_sigma or -1.0,
        "xtc_probability": params.xtc_probability,
        "xtc_threshold": params.xtc_threshold,
        "typical_p": params.typical_p,
        "repeat_last_n": params.repeat_last_n,
        "repeat_penalty": params.repeat_penalty,
        "presence_penalty": params.presence_penalty,
        "frequency_penalty": params.frequency_penalty,
        "dry_multiplier": params.dry_multiplier,
        "dry_base": params.dry_base,
        "dry_allowed_length": params.dry_allowed_length,
        "dry_penalty_last_n": params.dry_penalty_last_n,
        "dry_sequence_breakers": list(params.dry_sequence_breakers),
        "mirostat": params.mirostat,
        "mirostat_tau": params.mirostat_tau,
        "mirostat_eta": params.mirostat_eta,
        "adaptive_target": -1.0,
        "adaptive_decay": 0.9,
        "stop": list(params.stop),
        "max_tokens": n_predict,
        "n_predict": n_predict,
        "n_keep": 0,
        "n_discard": 0,
        "ignore_eos": params.ignore_eos,
        "stream": False,
        "n_probs": 0,
        "min_keep": 0,
        "grammar": "",
        "samplers": list(SAMPLERS),
        "timings_per_token": False,
        "post_sampling_probs": False,
        "backend_sampling": False,
        "lora": [],
    }


def generation_settings(
    reading: RequestReading, request: Generate, *, streamed: bool, timings_per_token: bool
) -> dict[str, Any]:
    """Return all parameters of a request, as the worker understood it."""
    biases = [{"token": token, "bias": _bias(bias)} for token, bias in reading.params.logit_bias]
    if reading.params.ignore_eos:
        biases += [{"token": token, "bias": None} for token in reading.end_tokens]
    constraint = request.constraint
    return {
        **sampling_settings(reading.params),
        "n_keep": request.n_keep or 0,
        "stream": streamed,
        "logit_bias": biases,
        "n_probs": request.n_probs or 0,
        "grammar": constraint.text if constraint is not None and constraint.kind == "gbnf" else "",
        "timings_per_token": timings_per_token,
        "post_sampling_probs": request.after_sampling,
        "lora": [{"id": adapter, "scale": scale} for adapter, scale in request.adapters or ()],
    }


def _bias(bias: float) -> float | None:
    """JSON has no infinity: llama-server's is null."""
    return None if bias == float("-inf") else bias
