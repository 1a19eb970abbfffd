"""Baichuan 1 and 2: Llama with q, k and v in one matrix, rotary or (13 B) with ALiBi.

llama.cpp tells the 7 B and 13 B models apart by their number of layers, so no other numbers make sense.
Baichuan 2 divides each row of its output matrix by its length whenever it computes; here that is done once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.decoder import Decoder
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.architectures.base.transform import RotaryHeads, Shape, Slice
from quantize.checkpoint.source import Rows, TensorSource
from quantize.gguf.header import Metadata, string, uint32

ROTARY_LAYERS, ALIBI_LAYERS = 32, 40


@dataclass(frozen=True)
class UnitRows:
    """Each row divided by its Euclidean length; rows of zeros stay."""

    row_step: int = 1

    def source_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        return (shape,)

    def read(self, source: TensorSource, names: Sequence[str], start: int, stop: int) -> Rows:
        rows = source.rows(names[0], start, stop).astype(np.float32)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        divided: Rows = rows / np.maximum(lengths, np.float32(1e-12))
        return divided


class Baichuan(Decoder):
    """BaichuanForCausalLM, of Baichuan 1 also BaiChuanForCausalLM."""

    gguf_name = "baichuan"
    huggingface_names: ClassVar[tuple[str, ...]] = ("BaichuanForCausalLM", "BaiChuanForCausalLM")
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 64000,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "max_position_embeddings": 4096,
    }
    default_epsilon = 1e-6
    needs_output = True

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        h = self.hyperparameters
        if h.n_layer not in (ROTARY_LAYERS, ALIBI_LAYERS) or h.n_head_kv != h.n_head:
            raise CheckpointError(
                f"config.json has {h.n_layer} layers, {h.n_head} heads and {h.n_head_kv} key-value heads; "
                f"llama.cpp's `baichuan` has {ROTARY_LAYERS} layers (rotary) or {ALIBI_LAYERS} (ALiBi), "
                "and as many key-value heads as heads"
            )

    @property
    def context_length(self) -> int:
        inner = self.config.optional_size("max_position_embeddings")
        return inner or self.config.size("model_max_length", self.defaults["max_position_embeddings"])

    @property
    def has_unit_output(self) -> bool:
        """True for Baichuan 2, which alone has this training term in its configuration."""
        return self.config.optional_number("z_loss_weight") is not None

    def metadata(self) -> Metadata:
        prefix = self.gguf_name
        keys = (
            self.size_metadata()
            | self.epsilon_metadata()
            | self.rope.metadata_unless_default(self.gguf_name, self.context_length)
        )
        if self.config.optional_size("num_key_value_heads") is None:
            del keys[f"{prefix}.attention.head_count_kv"]
        keys[f"{prefix}.tensor_data_layout"] = string("Meta AI original pth")
        keys[f"{prefix}.rope.dimension_count"] = uint32(self.head_dim)
        return keys

    def tensor_rules(self) -> Sequence[TensorRule]:
        h = self.hyperparameters
        rules = [self._unit(rule) if rule.name == "output.weight" else rule for rule in self.outer_rules()]
        for layer in range(h.n_layer):
            source, target = f"model.layers.{layer}", f"blk.{layer}"
            rules += norm_rules(f"{target}.attn_norm", f"{source}.input_layernorm", h.n_embd)
            rules += self._packed_rules(f"{source}.self_attn.W_pack", target)
            rules += linear_rules(f"{target}.attn_output", f"{source}.self_attn.o_proj", (h.n_embd, h.n_embd))
            rules += norm_rules(f"{target}.ffn_norm", f"{source}.post_attention_layernorm", h.n_embd)
            rules += self.gated_rules(source, target)
        return rules

    def _unit(self, rule: TensorRule) -> TensorRule:
        if not self.has_unit_output:
            return rule
        others = tuple(dataclasses.replace(other, transform=UnitRows()) for other in rule.others)
        return dataclasses.replace(rule, transform=UnitRows(), others=others)

    def _packed_rules(self, source: str, target: str) -> list[TensorRule]:
        n = self.hyperparameters.n_embd
        q, k, v = (Slice(part * n, n, of=3 * n) for part in range(3))
        return [
            *linear_rules(f"{target}.attn_q", source, (n, n), RotaryHeads(self.head_dim, q)),
            *linear_rules(f"{target}.attn_k", source, (n, n), RotaryHeads(self.head_dim, k)),
            *linear_rules(f"{target}.attn_v", source, (n, n), v),
        ]
