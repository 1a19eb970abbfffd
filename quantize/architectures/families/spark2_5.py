"""Spark X2.5: a gate for each head's output, and windows in layers that rotate in their own way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.decoder import Decoder
from quantize.architectures.base.rope import DEFAULT_THETA, Rope
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.architectures.base.sliding_window import sliding_layers
from quantize.gguf.header import Metadata, ValueType, array, float32, uint32


class Spark25(Decoder):
    """Spark2_5ForCausalLM, by its makers' code."""

    gguf_name = "spark2_5"
    huggingface_names: ClassVar[tuple[str, ...]] = ("Spark2_5ForCausalLM",)
    reads_back = False
    activations: ClassVar[tuple[str, ...]] = ("gelu",)
    default_epsilon = 1e-6
    own_head_dim = True

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        mode = config.text("gate_attn_act_mode")
        if mode != "sigmoid" or not config.flag("headwise_attn_output_gate", False):
            raise CheckpointError(
                f"config.json has no gate of each head with a sigmoid (gate_attn_act_mode {mode!r}, "
                f"headwise_attn_output_gate), which llama.cpp's `{self.gguf_name}` needs"
            )
        if self.local.kind != "default":
            raise CheckpointError(
                f"config.json has rope_type {self.local.kind!r} for sliding_attention; llama.cpp's "
                f"`{self.gguf_name}` has one scaling for all layers"
            )

    def _read_rope(self) -> Rope:
        """Return the settings of layers without a window, and set `local`, those of the others."""
        full, self.local = Rope.of_layer_types(self.config, DEFAULT_THETA, DEFAULT_THETA)
        if full.kind != "default":
            raise CheckpointError(
                f"config.json has rope_type {full.kind!r} for full_attention; llama.cpp's "
                f"`{self.gguf_name}` has one scaling for all layers"
            )
        return full

    def metadata(self) -> Metadata:
        prefix, dim = self.gguf_name, self.head_dim
        layers = sliding_layers(self.config, self.hyperparameters.n_layer, 1)
        full, local = (
            rope.parameters.number("partial_rotary_factor", 1.0) for rope in (self.rope, self.local)
        )
        return {
            **self.size_metadata(),
            **self.epsilon_metadata(),
            **self.head_size_metadata(),
            **self.rope.metadata(prefix, self.context_length),
            f"{prefix}.vocab_size": uint32(self.vocabulary_size),
            f"{prefix}.rope.freq_base_swa": float32(self.local.theta),
            f"{prefix}.rope.dimension_count": uint32(int(dim * full)),
            f"{prefix}.rope.dimension_count_swa": uint32(int(dim * local)),
            f"{prefix}.attention.sliding_window": uint32(self.config.size("sliding_window")),
            f"{prefix}.attention.sliding_window_pattern": array(ValueType.BOOL, layers),
        }

    def tensor_rules(self) -> Sequence[TensorRule]:
        h, dim = self.hyperparameters, self.head_dim
        rules = self.outer_rules()
        for layer in range(h.n_layer):
            source, target = f"model.layers.{layer}", f"blk.{layer}"
            attention, rows = f"{source}.self_attn", (h.n_head + 2 * h.n_head_kv) * dim
            rules += norm_rules(f"{target}.attn_norm", f"{source}.input_layernorm", h.n_embd)
            rules += linear_rules(f"{target}.attn_qkv", f"{attention}.q_k_v_proj", (rows, h.n_embd))
            rules += linear_rules(f"{target}.attn_gate", f"{attention}.g_proj", (h.n_head, h.n_embd))
            rules += linear_rules(f"{target}.attn_output", f"{attention}.o_proj", (h.n_embd, h.n_head * dim))
            rules += norm_rules(f"{target}.ffn_norm", f"{source}.post_attention_layernorm", h.n_embd)
            rules += self.gated_rules(source, target)
        return rules
