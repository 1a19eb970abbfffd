"""EmbeddingGemma: Gemma 3 whose tokens attend to later ones, too; dense layers follow the pooling.

The window is as wide to both sides together as config.json says. The dense layers have weights and settings
in folders of their own (2_Dense, 3_Dense), which modules.json names.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.rules import TensorRule
from quantize.architectures.base.sentence_files import require_modules
from quantize.architectures.base.sliding_window import sliding_window_metadata
from quantize.architectures.base.vectors_only import VectorsOnly
from quantize.architectures.families.gemma3 import Gemma3
from quantize.checkpoint.sentence_modules import DenseLayer
from quantize.gguf.header import Metadata, uint32

PLACES: Final = ("dense_2", "dense_3")
"""llama.cpp's names for the layers behind the pooling, in their order."""


class EmbeddingGemma(VectorsOnly, Gemma3):
    """Gemma3TextModel."""

    gguf_name = "gemma-embedding"
    huggingface_names: ClassVar[tuple[str, ...]] = ("Gemma3TextModel",)
    largest_layers = 0
    looks_ahead = True

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.dense: tuple[DenseLayer, ...] = ()

    def with_dense(self, layers: Sequence[DenseLayer]) -> EmbeddingGemma:
        """Return the family with these layers behind its pooling.

        Raises CheckpointError: more than two, other widths than llama.cpp takes, biases or activations.
        """
        n_embd = self.hyperparameters.n_embd
        if len(layers) > len(PLACES):
            raise CheckpointError(
                f"modules.json has {len(layers)} dense layers; llama.cpp's `{self.gguf_name}` computes two"
            )
        widths = [n_embd, *(layer.n_out for layer in layers)]
        for layer, n_in in zip(layers, widths, strict=False):
            layer.require_linear(self.gguf_name, n_in)
        if widths[-1] != n_embd:
            raise CheckpointError(
                f"{layers[-1].folder}/config.json has out_features {widths[-1]}; the vectors of llama.cpp's "
                f"`{self.gguf_name}` have the embedding's {n_embd} numbers"
            )
        family = copy.copy(self)
        family.dense = tuple(layers)
        family.__dict__.pop("_source_names", None)
        return family

    def metadata(self) -> Metadata:
        prefix, n_layer = self.gguf_name, self.hyperparameters.n_layer
        window = self.config.size("sliding_window", 4096)
        keys = super().metadata()
        keys |= sliding_window_metadata(self.config, prefix, n_layer, window, self.window_period)
        for place, layer in zip(PLACES, self.dense, strict=False):
            keys |= {
                f"{prefix}.{place}_feat_in": uint32(layer.n_in),
                f"{prefix}.{place}_feat_out": uint32(layer.n_out),
            }
        return keys

    def tensor_rules(self) -> Sequence[TensorRule]:
        dense = [
            TensorRule(f"{place}.weight", (layer.weight_name,), (layer.n_out, layer.n_in))
            for place, layer in zip(PLACES, self.dense, strict=False)
        ]
        return [*super().tensor_rules(), *dense]

    def folder_metadata(self, directory: Path) -> Metadata:
        """Return the keys of sentence-transformers' files, without which nobody knows the vectors."""
        require_modules(directory)
        return super().folder_metadata(directory)
