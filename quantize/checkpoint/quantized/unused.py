"""Tensors that no weight needs: scales and zeros of activations and of the KV cache."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_WHOSE: Final = ("input", "output", "activation", "k", "v", "q", "kv", "kv_cache", "prob", "attn", "softmax")
_WHAT: Final = ("scale", "scale_inv", "zero_point", "scale_ub", "amax")

SUFFIXES: Final = (
    *(f".{whose}_{what}" for whose in _WHOSE for what in _WHAT),
    "_activation_scale",
    ".qscale_act",
    ".input_global_scale",
    ".output_global_scale",
    ".kv_cache.scaling_factor",
    ".kv_cache_scaling_factor",
    ".k_cache_scale",
    ".v_cache_scale",
)
"""The endings of their names. GGUF has no place for them: llama.cpp scales activations as it computes."""


def unused_tensors(names: Iterable[str]) -> list[str]:
    """Return the names of the tensors that are left out."""
    return [name for name in names if name.endswith(SUFFIXES)]
