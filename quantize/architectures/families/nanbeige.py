"""Nanbeige 4: Llama that goes through its layers several times."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.llama_like import HeadDimKeys
from quantize.architectures.base.rules import TensorRule
from quantize.architectures.families.llama import Llama
from quantize.gguf.header import Metadata, boolean, uint32


class Nanbeige(Llama):
    """NanbeigeForCausalLM."""

    gguf_name = "nanbeige"
    huggingface_names: ClassVar[tuple[str, ...]] = ("NanbeigeForCausalLM",)
    biases: ClassVar[dict[str, tuple[str, bool]]] = {}
    refused_flags: ClassVar[dict[str, str]] = dict.fromkeys(("attention_bias", "mlp_bias"), "has no biases")
    head_dim_keys: ClassVar[HeadDimKeys] = "configured"

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        h, self.n_loops = self.hyperparameters, config.count("num_loops", 1) or 1
        self.n_stored = h.n_layer
        # llama.cpp's type rules count a layer each time it is gone through.
        self.hyperparameters = dataclasses.replace(h, n_layer=h.n_layer * self.n_loops)

    def metadata(self) -> Metadata:
        skips = self.config.optional_flag("skip_loop_final_norm", False)
        return super().metadata() | {
            f"{self.gguf_name}.block_count": uint32(self.n_stored),
            f"{self.gguf_name}.num_loops": uint32(self.n_loops),
            f"{self.gguf_name}.skip_loop_final_norm": boolean(skips),
        }

    def tensor_rules(self) -> Sequence[TensorRule]:
        repeated = tuple(f"blk.{i}." for i in range(self.n_stored, self.hyperparameters.n_layer))
        return [rule for rule in super().tensor_rules() if not rule.name.startswith(repeated)]
