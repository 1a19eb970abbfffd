"""Headers of heads that draft (EAGLE-3) which llama.cpp doesn't survive. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from models.gguf.hyperparameters import MAX_LAYERS, Hyperparameters
from models.gguf.reader import GGUFArray, GGUFTensor

HEAD_ARCHITECTURE: Final = "eagle3"
HEAD_KIND: Final = "head"
"""The kind of a file of that architecture, which is no model by itself."""
N_TARGET_LAYERS: Final = 3
"""An EAGLE-3 head sees so many layers of the model."""
DRAFT_TO_TARGET: Final = "d2t"
"""The tensor that says which tokens of the model those of a head's smaller vocabulary are."""


def head_faults(keys: Hyperparameters, tensors: Sequence[GGUFTensor]) -> Iterator[str]:
    """Yield what is wrong with the header of an EAGLE-3 head."""
    if keys.integer("block_count") != 1 or keys.integer("nextn_predict_layers"):
        yield f"{keys.name('block_count')} is {keys.integer('block_count')}; a head has one layer"
    layers = keys.get("target_layers")
    numbers = layers.numbers() if isinstance(layers, GGUFArray) and layers.element_type != "str" else []
    if len(numbers) != N_TARGET_LAYERS or not all(0 <= number < MAX_LAYERS for number in numbers):
        yield f"{keys.name('target_layers')} names no {N_TARGET_LAYERS} layers (0 to {MAX_LAYERS - 1})"
    width = keys.integer("target_hidden_size")
    if width is None or not 1 <= width <= 1 << 20:
        yield f"{keys.name('target_hidden_size')} is {width} (1 to {1 << 20:,})"
    by_name = {tensor.name: tensor for tensor in tensors}
    table = by_name.get(DRAFT_TO_TARGET)
    if table is None:
        return
    output = by_name.get("output.weight")
    if table.type != "I64" or len(table.shape) != 1:
        yield f"{DRAFT_TO_TARGET} is of type {table.type} with {len(table.shape)} axes (I64, one)"
    elif output is None or output.shape[-1] != table.shape[0]:
        yield f"{DRAFT_TO_TARGET} has {table.shape[0]} tokens, and output.weight is of another number"
