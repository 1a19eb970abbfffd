"""`window_layers`: which layers' attention has a sliding window, as llama.cpp reads a header. Pure."""

from __future__ import annotations

from models.gguf.architecture_lists import (
    ENCODER_WINDOW_PERIODS,
    EXAONE4_LAYERS_WITH_WINDOWS,
    LISTED_WINDOWS,
    WHOLE_FIRST,
    WINDOW_PERIODS,
    WINDOWS_IF_POSITIVE,
)
from models.gguf.hyperparameters import MAX_LAYERS, Hyperparameters
from models.gguf.reader import GGUFArray


def has_window(keys: Hyperparameters) -> bool:
    """Tell whether llama.cpp keeps a cache of windows for this architecture and header."""
    window = keys.integer("attention.sliding_window")
    if keys.prefix == "exaone4":
        return keys.n_layers == EXAONE4_LAYERS_WITH_WINDOWS
    if keys.prefix == "llama4":
        return window != 0
    if keys.prefix in WINDOWS_IF_POSITIVE:
        return bool(window)
    return keys.prefix in WINDOW_PERIODS or keys.prefix in LISTED_WINDOWS


def window_layers(keys: Hyperparameters) -> list[bool]:
    """Return for each layer True if its attention has a window; empty where llama.cpp keeps no such cache."""
    if not has_window(keys):
        return []
    return _layers(keys, WINDOW_PERIODS.get(keys.prefix, 0), whole_first=keys.prefix in WHOLE_FIRST)


def encoder_window_layers(keys: Hyperparameters) -> list[bool]:
    """Return for each layer of an encoder True if its attention has a window; empty without windows."""
    if keys.prefix not in ENCODER_WINDOW_PERIODS:
        return []
    is_modern_bert = keys.prefix == "modern-bert"
    if is_modern_bert and not keys.integer("attention.sliding_window"):
        return []
    return _layers(keys, ENCODER_WINDOW_PERIODS[keys.prefix], whole_first=is_modern_bert)


def _layers(keys: Hyperparameters, period: int, *, whole_first: bool) -> list[bool]:
    n_all = min(keys.integer("block_count") or 0, MAX_LAYERS)
    pattern = keys.get("attention.sliding_window_pattern")
    if isinstance(pattern, GGUFArray):
        listed = keys.per_layer("attention.sliding_window_pattern")[:n_all]
        return [bool(one) for one in listed] + [False] * (n_all - len(listed))
    period = pattern if isinstance(pattern, int) else period
    whole = 0 if whole_first else period - 1
    return [layer < keys.n_layers and (period == 0 or layer % period != whole) for layer in range(n_all)]
