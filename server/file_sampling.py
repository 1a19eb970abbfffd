"""`sampling_defaults`: the sampling parameters that a model's file gives (`general.sampling.*`). Pure."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

from server.engine.sampling_params import RANGES

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
