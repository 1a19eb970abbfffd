"""`Hyperparameters`: a header's values under one prefix, and those for keys left out. Pure."""

from __future__ import annotations

from typing import Any

from models.gguf.reader import GGUFArray, Scalar

MAX_LAYERS = 512
Metadata = dict[str, Scalar | GGUFArray]


class Hyperparameters:
    """The metadata under one prefix."""

    def __init__(self, metadata: Metadata, prefix: str) -> None:
        self._metadata = metadata
        self.prefix = prefix

    def name(self, key: str) -> str:
        return f"{self.prefix}.{key}"

    def get(self, key: str) -> Any:
        return self._metadata.get(self.name(key))

    def per_layer(self, key: str) -> list[int | float]:
        """Return one number for all layers, or one for each; empty if there is none."""
        value = self.get(key)
        if isinstance(value, GGUFArray):
            return value.numbers() if value.element_type != "str" and value.length <= MAX_LAYERS else []
        return [value] if isinstance(value, int | float) else []

    def integer(self, key: str) -> int | None:
        value = self.get(key)
        return value if isinstance(value, int) else None

    @property
    def n_layers(self) -> int:
        """The number of layers, without those that predict further tokens."""
        return (self.integer("block_count") or 0) - (self.integer("nextn_predict_layers") or 0)

    # --- attention -----------------------------------------------------------------------------------

    def heads(self, layer: int) -> int:
        """Return the number of attention heads of a layer; 0 if none are given."""
        return _of_layer(self.per_layer("attention.head_count"), layer)

    def kv_heads(self, layer: int) -> int:
        """Return the number of key-value heads of a layer: as many as heads where none are given."""
        numbers = self.per_layer("attention.head_count_kv")
        return _of_layer(numbers, layer) if numbers else self.heads(layer)

    @property
    def key_length(self) -> int:
        """The size of a head of the keys, in numbers; 0 without heads."""
        return self._head_length("attention.key_length")

    @property
    def value_length(self) -> int:
        """The size of a head of the values, in numbers; 0 without heads."""
        return self._head_length("attention.value_length")

    @property
    def rotated(self) -> int:
        """The numbers of a head that are rotated: all where the header doesn't say."""
        given = self.integer("rope.dimension_count")
        return self.key_length if given is None else given

    def _head_length(self, key: str) -> int:
        n_heads = self.heads(0)
        if n_heads <= 0:
            return 0
        given = self.integer(key)
        return (self.integer("embedding_length") or 0) // n_heads if given is None else given


def _of_layer(numbers: list[int | float], layer: int) -> int:
    if not numbers:
        return 0
    return int(numbers[layer] if layer < len(numbers) else numbers[0])
