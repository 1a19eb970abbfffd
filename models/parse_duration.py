"""`parse_duration`: times as people and Ollama's clients write them: `5m`, `1h30m`, `300`, 0, -1."""

from __future__ import annotations

import math
import re
from typing import Final

from models.errors import ConfigError

_UNITS: Final = {
    "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3,
    "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0,
}  # fmt: skip
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h|d)")
_LONGEST_S: Final = 100 * 365 * 86_400
"""More seconds are for ever: clocks, timers and dates have an end."""
_TEXT: Final = re.compile(rf"([+-]?)(?:([0-9]+(?:\.[0-9]+)?)|((?:{_PART.pattern})+))")


def parse_duration(value: object) -> float:
    """Return seconds; infinity for what is negative, as in Ollama, or over a century: for ever.

    A number without a unit is seconds, in a text too. Raises ConfigError.
    """
    is_nan = isinstance(value, float) and math.isnan(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and not is_nan:
        return math.inf if value < 0 or value > _LONGEST_S else float(value)
    match = _TEXT.fullmatch(value.strip()) if isinstance(value, str) and len(value) <= 64 else None
    if match is None:
        shown = repr(value)
        shown = shown if len(shown) <= 80 else f"{shown[:79]}…"
        raise ConfigError(
            f"{shown} is no time; write it as 5m, 1h30m, a number of seconds, 0 for at once or -1 for ever"
        )
    sign, plain, parts = match.group(1, 2, 3)
    seconds = float(plain) if plain else sum(float(n) * _UNITS[unit] for n, unit in _PART.findall(parts))
    return math.inf if (sign == "-" and seconds > 0) or seconds > _LONGEST_S else seconds
