"""Settings that differ from module to module: patterns of names, each with what it changes.

dynamic        GPTQModel: regular expressions; "-:" before one leaves modules whole, "+:" or nothing changes
extra_config   AutoRound: a module's name, or a regular expression for whole names

Whether a module is quantized is seen by its tensors; here is said only in which way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from models.errors import CheckpointError
from quantize.checkpoint.quantized.dequantize import setting

_PATTERN_LIMIT: Final = 4000
"""A pattern comes from a stranger: it may have at most this many characters."""


def matches(pattern: str, name: str, *, whole: bool = False) -> bool:
    """Return whether a regular expression matches the beginning of a name, or all of it.

    Raises CheckpointError: a pattern that can't be read.
    """
    if len(pattern) > _PATTERN_LIMIT:
        raise CheckpointError(
            f"a pattern of the quantization_config has {len(pattern):,} characters, the limit is "
            f"{_PATTERN_LIMIT:,}: {pattern[:40]}…; shorten it"
        )
    try:
        return (re.fullmatch if whole else re.match)(pattern, name) is not None
    except (re.error, RecursionError) as error:
        raise CheckpointError(
            f"the pattern {pattern[:60]!r} of the quantization_config can't be read ({error}); correct it"
        ) from error


def settings_of(module: str, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings with what they change for one module. Raises CheckpointError: unreadable ones."""
    dynamic = setting(settings, "dynamic", (dict,), {})
    # GPTQModel looks at what leaves modules whole first, then in the order of the file.
    for pattern in sorted(dynamic, key=lambda pattern: not pattern.startswith("-:")):
        if matches(pattern.removeprefix("-:").removeprefix("+:"), module):
            if pattern.startswith("-:"):
                return settings
            return _changed(settings, dynamic[pattern], pattern)
    extra = setting(settings, "extra_config", (dict,), {})
    if module in extra:
        return _changed(settings, extra[module], module)
    for pattern, change in extra.items():
        if re.escape(pattern).replace("\\.", ".") != pattern and matches(pattern, module, whole=True):
            return _changed(settings, change, pattern)
    return settings


def _changed(settings: Mapping[str, Any], change: Any, pattern: str) -> Mapping[str, Any]:
    if not isinstance(change, dict):
        raise CheckpointError(
            f"{pattern[:60]!r} in the quantization_config is {str(change)[:60]!r}; it must be settings"
        )
    return {**settings, **change}
