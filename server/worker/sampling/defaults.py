"""Sampling defaults that a model's file gives (`general.sampling.*`), for what a request leaves open."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

import msgspec

from server.engine.sampling_params import RANGES, SamplingParams
from server.ipc.messages import Generate

logger = logging.getLogger("corral.worker")

_FIELDS: dict[str, str] = {
    "temp": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "xtc_probability": "xtc_probability",
    "xtc_threshold": "xtc_threshold",
    "penalty_repeat": "repeat_penalty",
    "penalty_last_n": "repeat_last_n",
}
"""Keys below general.sampling and their fields of SamplingParams."""


def sampling_defaults(metadata: Mapping[str, object]) -> dict[str, float | int]:
    """Return the fields of SamplingParams that the file sets, but for senseless values, which are logged."""
    defaults: dict[str, float | int] = {}
    for key, field in _FIELDS.items():
        least, greatest, *_ = RANGES[field]
        value = metadata.get(f"general.sampling.{key}")
        if value is None:
            continue
        if isinstance(value, float | int) and math.isfinite(value) and least <= value <= greatest:
            defaults[field] = value
        else:
            logger.warning("the model file's general.sampling.%s is %r: ignored", key, value)
    return defaults


def with_defaults(message: Generate, defaults: Mapping[str, float | int]) -> SamplingParams:
    """Return the request's parameters, with the model's defaults for those that its client left open."""
    open_fields = {field: value for field, value in defaults.items() if field not in message.given}
    return msgspec.structs.replace(message.params, **open_fields) if open_fields else message.params
