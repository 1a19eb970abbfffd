"""Sliding windows in some layers, in the keys that llama.cpp's runtime reads."""

from __future__ import annotations

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.gguf.header import Metadata, ValueType, array, uint32

KINDS = {"sliding_attention": True, "full_attention": False}


def sliding_layers(config: ModelConfig, n_layer: int, period: int) -> tuple[bool, ...]:
    """Return for each layer True if it has the window: by `layer_types`, else all but every `period`th.

    `sliding_window_pattern` of config.json replaces `period`. Raises CheckpointError.
    """
    kinds = config.texts("layer_types")
    if kinds is None:
        period = config.size("sliding_window_pattern", period)
        return tuple((layer + 1) % period != 0 for layer in range(n_layer))
    if len(kinds) != n_layer or not set(kinds) <= set(KINDS):
        raise CheckpointError(
            f"layer_types in config.json has {len(kinds)} entries, {', '.join(sorted(set(kinds)))}; "
            f"expected are {n_layer}, each sliding_attention or full_attention"
        )
    return tuple(KINDS[kind] for kind in kinds)


def sliding_window_metadata(
    config: ModelConfig, prefix: str, n_layer: int, window: int, period: int
) -> Metadata:
    """Return the window's key and, unless llama.cpp assumes its layers (all but every `period`th), theirs."""
    keys: Metadata = {f"{prefix}.attention.sliding_window": uint32(window)}
    layers = sliding_layers(config, n_layer, period)
    if layers != tuple((layer + 1) % period != 0 for layer in range(n_layer)):
        keys[f"{prefix}.attention.sliding_window_pattern"] = array(ValueType.BOOL, layers)
    return keys
