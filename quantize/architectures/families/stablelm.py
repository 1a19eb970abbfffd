"""StableLM 3B, StableLM 2 and StableCode: norms with shifts, partial rotation.

The 12 B model norms each head of queries and keys on its own, and computes attention and feed-forward side by
side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.decoder import Decoder
from quantize.architectures.base.rules import TensorRule, norm_rules
from quantize.architectures.base.transform import Shape
from quantize.checkpoint.source import Rows, TensorSource
from quantize.gguf.header import Metadata, boolean, uint32

VISION = ("vision_tower.", "mm_projector.")


@dataclass(frozen=True)
class VectorPerRow:
    """A small matrix whose rows are vectors of the checkpoint, one per head."""

    row_step: int = 1

    def source_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        return (shape[1:],) * shape[0]

    def read(self, source: TensorSource, names: Sequence[str], start: int, stop: int) -> Rows:
        return np.stack([source.rows(name, 0, source.entries[name].shape[0]) for name in names[start:stop]])


class StableLM(Decoder):
    """StableLmForCausalLM, in older files StableLMEpochForCausalLM; of one that sees, the text part."""

    gguf_name = "stablelm"
    huggingface_names: ClassVar[tuple[str, ...]] = (
        "StableLmForCausalLM",
        "StableLMEpochForCausalLM",
        "LlavaStableLMEpochForCausalLM",
    )
    ignored_prefixes = VISION
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 50304,
        "hidden_size": 2560,
        "intermediate_size": 6912,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "max_position_embeddings": 4096,
    }
    epsilon_names = ("layer_norm_eps", "norm_eps")
    needs_output = True
    null_kv_heads = False

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.is_parallel = config.flag("use_parallel_residual", False)

    def metadata(self) -> Metadata:
        prefix = self.gguf_name
        share = self.config.optional_number("rope_pct")  # the older name
        n_rot = int((self.rotary_share(0.25) if share is None else share) * self.head_dim)
        return {
            **self.size_metadata(),
            **self.epsilon_metadata("layer_norm_epsilon"),
            **self.rope.metadata_unless_default(self.gguf_name, self.context_length),
            f"{prefix}.rope.dimension_count": uint32(n_rot),
            f"{prefix}.use_parallel_residual": boolean(self.is_parallel),
        }

    def tensor_rules(self) -> Sequence[TensorRule]:
        h = self.hyperparameters
        rules = self.outer_rules(norm_bias=True)
        for layer in range(h.n_layer):
            source, target = f"model.layers.{layer}", f"blk.{layer}"
            rules += norm_rules(f"{target}.attn_norm", f"{source}.input_layernorm", h.n_embd, bias=True)
            rules += self.attention_rules(source, target, qkv_bias=self.config.flag("use_qkv_bias", False))
            if self.config.flag("qk_layernorm", False):
                rules += [self._head_norm(source, target, "q", h.n_head)]
                rules += [self._head_norm(source, target, "k", h.n_head_kv)]
            if not self.is_parallel:
                second = f"{source}.post_attention_layernorm"
                rules += norm_rules(f"{target}.ffn_norm", second, h.n_embd, bias=True)
            rules += self.gated_rules(source, target)
        return rules

    def _head_norm(self, source: str, target: str, part: str, n_head: int) -> TensorRule:
        names = tuple(f"{source}.self_attn.{part}_layernorm.norms.{head}.weight" for head in range(n_head))
        shape = (n_head, self.head_dim)
        return TensorRule(f"{target}.attn_{part}_norm.weight", names, shape, VectorPerRow())
