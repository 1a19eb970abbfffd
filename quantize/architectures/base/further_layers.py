"""Layers that predict further tokens (MTP), which some families' files keep as their last blocks.

llama.cpp answers without them, and loads a file whether they are there or not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Final

from quantize.architectures.base.rules import TensorRule
from quantize.gguf.header import Metadata, uint32

NAMES: Final = {
    "eh_proj": "eh_proj",
    "enorm": "enorm",
    "hnorm": "hnorm",
    "embed_tokens": "embed_tokens",
    "shared_head_head": "shared_head.head",
    "shared_head_norm": "shared_head.norm",
}
"""The tensors that such a layer has beside a usual layer's: in GGUF, and in a checkpoint."""


def further_layer_metadata(prefix: str, n_layers: int) -> Metadata:
    """Return the key of the number of such layers."""
    return {f"{prefix}.nextn_predict_layers": uint32(n_layers)}


def further_layer_rules(target: str, source: str, n_embd: int, n_vocab: int) -> list[TensorRule]:
    """Return the rules of a layer's own tensors; each may be missing."""
    shapes: dict[str, tuple[int, ...]] = {
        "eh_proj": (n_embd, 2 * n_embd),
        "embed_tokens": (n_vocab, n_embd),
        "shared_head_head": (n_vocab, n_embd),
    }
    return [
        TensorRule(
            f"{target}.nextn.{part}.weight",
            (f"{source}.{name}.weight",),
            shapes.get(part, (n_embd,)),
            optional=True,
        )
        for part, name in NAMES.items()
    ]


def optional_rules(rules: Iterable[TensorRule]) -> list[TensorRule]:
    """Return rules of which a checkpoint may have none."""
    return [dataclasses.replace(rule, optional=True) for rule in rules]
