"""`PlannedModel`: a planned file as estimates of memory read a GGUF file's header."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from models.gguf.hyperparameters import Hyperparameters, Metadata
from models.gguf.window_layers import has_window, window_layers
from quantize.plan.plan import PlannedFile


@dataclass(frozen=True, slots=True)
class PlannedTensorSize:
    name: str
    nbytes: int


class PlannedModel:
    """A `models.machine.fit.ModelFile` that is read from a plan."""

    def __init__(self, file: PlannedFile) -> None:
        self._metadata = file.metadata
        self._architecture = str(file.metadata["general.architecture"].data)
        self.tensors = [
            PlannedTensorSize(tensor.name, n_bytes)
            for tensor, n_bytes in zip(file.tensors, file.tensor_bytes, strict=True)
        ]

    @property
    def n_layer(self) -> int | None:
        return self.hyperparameter("block_count")

    @property
    def n_embd(self) -> int | None:
        return self.hyperparameter("embedding_length")

    @property
    def n_vocab(self) -> int | None:
        value = self._metadata.get("tokenizer.ggml.tokens")
        return None if value is None else len(value.data)

    @property
    def window_layers(self) -> list[bool]:
        numbers: Metadata = {
            key: value.data for key, value in self._metadata.items() if isinstance(value.data, int)
        }
        keys = Hyperparameters(numbers, self._architecture)
        listed = self._data("attention.sliding_window_pattern")
        if isinstance(listed, list | tuple):
            return [bool(one) for one in listed] if has_window(keys) else []
        return window_layers(keys)

    def hyperparameter(self, key: str) -> int | None:
        value = self._data(key)
        return value if isinstance(value, int) else None

    def per_layer(self, key: str) -> list[int | float]:
        value = self._data(key)
        if isinstance(value, int | float):
            return [value] * (self.n_layer or 1)
        return list(value) if isinstance(value, list | tuple) else []

    def _data(self, key: str) -> Any:
        value = self._metadata.get(f"{self._architecture}.{key}")
        return None if value is None else value.data
