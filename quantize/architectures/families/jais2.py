"""Jais 2: layer norms, biases, and a feed-forward without gate that squares what is positive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from models.errors import CheckpointError
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.decoder import Decoder
from quantize.architectures.base.rules import TensorRule, linear_rules, norm_rules
from quantize.gguf.header import Metadata, uint32


class Jais2(Decoder):
    """Jais2ForCausalLM."""

    gguf_name = "jais2"
    huggingface_names: ClassVar[tuple[str, ...]] = ("Jais2ForCausalLM",)
    defaults: ClassVar[dict[str, int]] = {
        "vocab_size": 150272,
        "hidden_size": 3328,
        "intermediate_size": 26624,
        "num_hidden_layers": 32,
        "num_attention_heads": 26,
        "max_position_embeddings": 8192,
    }
    activations: ClassVar[tuple[str, ...]] = ("relu2",)
    epsilon_names: ClassVar[tuple[str, ...]] = ("layer_norm_eps",)
    own_head_dim = True

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        for flag in ("attention_bias", "mlp_bias"):
            if not config.flag(flag, True):
                raise CheckpointError(
                    f"config.json has {flag} false; llama.cpp's `{self.gguf_name}` needs biases"
                )

    def metadata(self) -> Metadata:
        keys = self.size_metadata() | self.epsilon_metadata("layer_norm_epsilon") | self.head_size_metadata()
        keys |= self.rope.metadata(self.gguf_name, self.context_length)
        return keys | {f"{self.gguf_name}.rope.dimension_count": uint32(self.head_dim)}

    def tensor_rules(self) -> Sequence[TensorRule]:
        h = self.hyperparameters
        rules = self.outer_rules(norm_bias=True)
        for layer in range(h.n_layer):
            source, target = f"model.layers.{layer}", f"blk.{layer}"
            rules += norm_rules(f"{target}.attn_norm", f"{source}.input_layernorm", h.n_embd, bias=True)
            rules += self.attention_rules(source, target, qkv_bias=True, output_bias=True)
            rules += norm_rules(
                f"{target}.ffn_norm", f"{source}.post_attention_layernorm", h.n_embd, bias=True
            )
            up, down = (h.n_ff, h.n_embd), (h.n_embd, h.n_ff)
            rules += linear_rules(f"{target}.ffn_up", f"{source}.mlp.up_proj", up, bias=True)
            rules += linear_rules(f"{target}.ffn_down", f"{source}.mlp.down_proj", down, bias=True)
        return rules
